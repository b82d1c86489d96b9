package sweep

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
)

func TestMain(m *testing.M) { testbench.Main(m) }

func TestFailedAndPanickingRoundsAreMadeAgainUntilTheStop(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	registry := prometheus.NewRegistry()
	made := 0
	err := task{name: "task", every: time.Millisecond, do: func(context.Context) error {
		made++
		switch made {
		case 1:
			return errors.New("broken")
		case 2:
			panic("poison")
		case 4:
			stop()
		}
		return nil
	}}.run(ctx, zap.NewNop(), newRoundMetrics(registry))
	if err != nil || made != 4 {
		t.Fatalf("%d rounds, error %v", made, err)
	}
	failed, _ := testbench.Metric(t, registry, "arauto_sweep_rounds_total", "failed")
	done, _ := testbench.Metric(t, registry, "arauto_sweep_rounds_total", "done")
	if failed != 2 || done != 1 { // The one that was stopped is neither.
		t.Errorf("%v rounds failed, %v are done", failed, done)
	}
}
