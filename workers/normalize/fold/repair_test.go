package fold_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/retry"
	"arauto/workers/normalize/fold"
)

// A transition found by a sweep counts as a lost webhook. A look-up that finds nothing
// new, or that a webhook caused, does not.
func TestTransitionFoundBySweepIsCounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	retries, err := retry.Open(b.Ctx, b.JS, b.Tokens)
	testbench.Must(t, err)
	dead, err := deadletter.Open(b.Ctx, b.JS)
	testbench.Must(t, err)
	registry := prometheus.NewRegistry()
	w, err := fold.New(b.Ctx, fold.Options{
		JS: b.JS, Tokens: b.Tokens, Retries: retries, DeadLetters: dead, Log: zap.NewNop(), Metrics: fold.NewMetrics(registry), Now: time.Now,
	})
	testbench.Must(t, err)
	for _, step := range []struct {
		status order.Status
		cause  order.Cause
		want   float64
	}{
		{order.Pending, order.CauseNotification, 0},
		{order.Pending, order.CauseSweep, 0},
		{order.Paid, order.CauseSweep, 1},
		{order.Paid, order.CauseSweep, 1},
		{order.Refunded, order.CauseOperator, 1},
	} {
		body, err := json.Marshal(order.Observation{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Order: "p",
			Status: step.status, ProviderStatus: string(step.status), Confirmed: true, Cause: step.cause,
			AskedAt: time.Now(), AnsweredAt: time.Now(),
		})
		testbench.Must(t, err)
		m := b.deliver(t, &nats.Msg{Subject: b.Unit("p").Status(), Data: body})
		for range 2 { // A redelivery does not count.
			testbench.Must(t, w.Handle(b.Ctx, m))
		}
		if got := repaired(t, registry); got != step.want {
			t.Errorf("after %s by %s: %v repaired, want %v", step.status, step.cause, got, step.want)
		}
	}
}

func repaired(t *testing.T, g prometheus.Gatherer) float64 {
	t.Helper()
	sum, _ := testbench.Metric(t, g, "arauto_sweep_repaired_total")
	return sum
}
