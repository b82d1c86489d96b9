package topology_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/subject"
)

var settings = topology.Settings{Replicas: 1, Store: testbench.Store, Providers: []string{"picpay", "yapay"}}

func TestApplyTwiceFindsNothingLeftToDo(t *testing.T) {
	t.Parallel()
	b := testbench.StartEmpty(t)
	ctx := testbench.Context(t)
	first, err := topology.Apply(ctx, b.JS, settings)
	testbench.Must(t, err)
	if want := len(topology.Streams(settings)) + len(topology.Consumers(settings)); len(first) != want {
		t.Errorf("first apply reports %d missing objects, want %d: %v", len(first), want, first)
	}
	second, err := topology.Apply(ctx, b.JS, settings)
	testbench.Must(t, err)
	if len(second) != 0 {
		t.Errorf("second apply still finds drift: %v", second)
	}
}

func TestDriftIsReportedFieldByFieldAndMended(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, settings.Providers...)
	ctx := testbench.Context(t)
	changed := topology.Streams(settings)[0]
	changed.Discard = jetstream.DiscardOld
	changed.MaxBytes = 4096
	if _, err := b.JS.UpdateStream(ctx, changed); err != nil {
		t.Fatal(err)
	}
	consumer := topology.Consumers(settings)[0]
	consumer.MaxAckPending = 1
	if _, err := b.JS.UpdateConsumer(ctx, consumer.Stream, consumer.ConsumerConfig); err != nil {
		t.Fatal(err)
	}
	drift, err := topology.Diff(ctx, b.JS, settings)
	testbench.Must(t, err)
	var lines []string
	for _, d := range drift {
		lines = append(lines, d.String())
	}
	got := strings.Join(lines, "\n")
	want := strings.Join([]string{
		"stream NOTIFICATIONS: discard is old, declared new",
		"stream NOTIFICATIONS: max_bytes is 4096, declared 268435450",
		"consumer lookup-picpay of NOTIFICATIONS: max_ack_pending is 1, declared 16384",
	}, "\n")
	if got != want {
		t.Errorf("drift:\n%s\nwant:\n%s", got, want)
	}
	if _, err := topology.Apply(ctx, b.JS, settings); err != nil {
		t.Fatal(err)
	}
	if left, err := topology.Diff(ctx, b.JS, settings); err != nil || len(left) != 0 {
		t.Errorf("after apply: drift %v, error %v", left, err)
	}
}

// Nothing makes or deletes the consumers of a provider without an account. Where there are some,
// they are kept as they are declared.
func TestLeftoversAreMendedAndNeverMade(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "picpay")
	some := topology.Settings{Replicas: 1, Store: testbench.Store, Others: []string{"picpay", "yapay"}}
	left := topology.Consumers(topology.Settings{Providers: some.Others})[0]
	changed := left
	changed.MaxAckPending = 1
	if _, err := b.JS.UpdateConsumer(b.Ctx, changed.Stream, changed.ConsumerConfig); err != nil {
		t.Fatal(err)
	}
	mended, err := topology.Apply(b.Ctx, b.JS, some)
	b.Must(err)
	if want := "consumer lookup-picpay of NOTIFICATIONS: max_ack_pending is 1, declared 16384"; len(mended) != 1 || mended[0].String() != want {
		t.Errorf("mended %v, want %s", mended, want)
	}
	if drift, err := topology.Diff(b.Ctx, b.JS, some); err != nil || len(drift) != 0 {
		t.Errorf("after apply: drift %v, error %v", drift, err)
	}
	for _, c := range topology.Leftovers(some) {
		_, err := b.JS.Consumer(b.Ctx, c.Stream, c.Durable)
		if is, want := err == nil, strings.HasSuffix(c.Durable, "picpay"); is != want {
			t.Errorf("%s is there: %v, want %v (%v)", c.Durable, is, want, err)
		}
	}
}

func TestBoundsLeaveAFifthOfTheStoreToSchedules(t *testing.T) {
	t.Parallel()
	var sum int64
	for _, s := range topology.Streams(settings) {
		if s.Name == subject.LookupRetries {
			if s.MaxBytes != -1 || !s.AllowMsgSchedules || s.Retention != jetstream.WorkQueuePolicy {
				t.Errorf("LOOKUP_RETRIES is %+v", s)
			}
			continue
		}
		if s.MaxBytes <= 0 {
			t.Errorf("%s has no bound", s.Name)
		}
		sum += s.MaxBytes
	}
	if limit := settings.Store / 100 * 80; sum > limit {
		t.Errorf("bounds add up to %d bytes, more than %d", sum, limit)
	}
	if room := topology.RetriesRoom(settings); room != settings.Store-sum {
		t.Errorf("the room for schedules is %d bytes, want %d", room, settings.Store-sum)
	}
}

func TestDecidingReadsCannotGoToAReplica(t *testing.T) {
	t.Parallel()
	for _, s := range topology.Streams(settings) {
		if s.AllowDirect {
			t.Errorf("%s allows direct get, which any replica may answer", s.Name)
		}
	}
}
