package limit

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"

	"arauto/deploy/runtime/topology/jetstreamtest"
	"arauto/deploy/tools/bench/load"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestMessagesAreThoseOfTheGateway holds what the limit stores to what a
// worker can read, each with ids of its own.
func TestMessagesAreThoseOfTheGateway(t *testing.T) {
	t.Parallel()
	body, err := template()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for caller := range uint16(3) {
		for n := range uint64(3) {
			m := message(body, caller, n)
			var got record.Notification
			if err := json.Unmarshal(m.Body, &got); err != nil {
				t.Fatal(err)
			}
			want := load.PaymentID(caller, n)
			if got.Payment != want || got.Order != want || got.ID != m.ID || m.Subject != "notifications.picpay-checkout.default."+want {
				t.Errorf("message %s on %s has %+v", m.ID, m.Subject, got)
			}
			if len(m.Body) != len(body) || bytes.Contains(m.Body, []byte("999999999999")) {
				t.Errorf("something of the template is left: %s", m.Body)
			}
			seen[m.ID] = true
		}
	}
	if len(seen) != 9 {
		t.Errorf("%d ids of 9 messages", len(seen))
	}
}

// TestEveryMessageOfTheLimitIsStored runs it on a broker.
func TestEveryMessageOfTheLimitIsStored(t *testing.T) {
	t.Parallel()
	b := jetstreamtest.Start(t)
	r, err := Run(t.Context(), io.Discard, b.URL, 3, load.Span{Warm: 10 * time.Millisecond, For: 100 * time.Millisecond})
	if err != nil || r.Bad() != 0 || r.Everything == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	info, err := b.JS.Stream(jetstreamtest.Context(t), subject.Notifications)
	if err != nil {
		t.Fatal(err)
	}
	if stored := info.CachedInfo().State.Msgs; stored != r.Everything {
		t.Errorf("%d are stored, %d were confirmed", stored, r.Everything)
	}
}
