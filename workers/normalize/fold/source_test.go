package fold_test

import (
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/subject"
)

func TestSourceNamesTheDeployment(t *testing.T) {
	t.Parallel()
	for deployment, want := range map[string]string{"": "/sandbox/default", "shop-a": "/shop-a/sandbox/default"} {
		b := setup(t)
		w := b.worker(t, b.JS)
		w.Deployment = deployment
		sequence := b.Publish(b.Unit("p").Status(), order.Observation{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Order: "p", Status: order.Pending, ProviderStatus: "pending",
			Confirmed: true, Cause: order.CauseNotification, AskedAt: time.Now(), AnsweredAt: time.Now(),
		})
		testbench.Must(t, w.Handle(b.Ctx, b.Delivered(subject.Statuses, sequence)))
		raw := b.Messages(subject.Orders, b.Unit("p").Events())
		if len(raw) != 1 || raw[0].Header.Get("ce-source") != want {
			t.Errorf("deployment %q: %d events, source %s, want %s", deployment, len(raw), raw[0].Header.Get("ce-source"), want)
		}
	}
}
