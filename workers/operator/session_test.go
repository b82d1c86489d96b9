package operator

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/subject"
)

func TestSearchByTimeFindsTheFirstThatIsNotOlder(t *testing.T) {
	t.Parallel()
	r := idle(t)
	for i := range 40 {
		r.notify(fmt.Sprintf("p-%d", i%3))
	}
	stream, err := r.JS.Stream(r.Ctx, subject.Notifications)
	r.Must(err)
	s := &Deployment{streams: map[string]jetstream.Stream{subject.Notifications: stream}}
	for _, filter := range []string{"notifications.>", "notifications.*.*.p-1"} {
		var last uint64
		r.Must(s.each(r.Ctx, subject.Notifications, filter, 1, func(raw *jetstream.RawStreamMsg) bool {
			last = raw.Sequence
			from, err := s.since(r.Ctx, subject.Notifications, raw.Time)
			r.Must(err)
			found, err := stream.GetMsg(r.Ctx, from, jetstream.WithGetMsgSubject(filter))
			r.Must(err)
			if found.Sequence != raw.Sequence {
				t.Errorf("for the time of %d on %s it finds %d", raw.Sequence, filter, found.Sequence)
			}
			return true
		}))
		if from, err := s.since(r.Ctx, subject.Notifications, time.Now().Add(time.Hour)); err != nil || from <= last {
			t.Errorf("nothing is that young, but it finds %d, %v", from, err)
		}
	}
}
