package breaker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// Closing is the record by which the last of an account's circuit breakers closed: its own,
// or that of its host. The zero Closing means that neither was ever open.
type Closing struct {
	Sequence uint64    // On CIRCUITS.
	At       time.Time // When the broker stored it.
}

// Closing returns the last closing of an account's circuit breakers. ok is false while one
// of them is open, as far as this worker knows, or if the account has no look-up.
func (b *Outage) Closing(account string) (last Closing, ok bool) {
	h := b.byAccount()[account]
	if h == nil {
		return Closing{}, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	b.follow(h)
	for _, k := range []key{{b.provider, account}, h.key} {
		e, opening := b.cache.known(k)
		if opening || e.open() {
			return Closing{}, false
		}
		if e.sequence > last.Sequence {
			last = Closing{Sequence: e.sequence, At: e.at}
		}
	}
	return last, !h.own.open()
}

// Resumption is the record of an account's resumption as it was read. The zero Resumption
// means that there is none.
type Resumption struct {
	record.Resumption
	sequence uint64
	at       time.Time // When the broker stored it.
}

// resumptionTerm is how long a worker may leave its resumption alone until another one may
// go on with it. A guess: it writes twice a second.
const resumptionTerm = 10 * time.Second

// For returns the resumption that a worker of that name may write after r, once the circuit
// breakers have closed. ok is false if another worker is at it, or none is due. now is the
// broker's time.
func (r Resumption) For(name string, closed Closing, now time.Time) (next Resumption, ok bool) {
	next = r
	next.By = name
	switch {
	case r.Closed > closed.Sequence: // Another worker knows of a later closing.
		return r, false
	case r.Closed < closed.Sequence:
		next.Closed, next.Through, next.Done = closed.Sequence, 0, false
		return next, true
	}
	return next, !r.Done && (r.By == name || now.Sub(r.at) > resumptionTerm)
}

// ReadResumption returns an account's resumption from the stream's leader.
func (s *Store) ReadResumption(ctx context.Context, provider, account string) (Resumption, error) {
	raw, err := stream.Last(ctx, s.stream, subject.Resumption(provider, account))
	if err != nil {
		return Resumption{}, fmt.Errorf("read resumption: %w", err)
	}
	if raw == nil {
		return Resumption{}, nil
	}
	r := Resumption{sequence: raw.Sequence, at: raw.Time}
	if json.Unmarshal(raw.Data, &r.Resumption) != nil {
		r.Resumption = record.Resumption{} // It is made again from the beginning, which does no harm.
	}
	return r, nil
}

// WriteResumption stores r behind the record that it was read from, and returns it as it is
// stored. stream.IsConflict recognizes the error if another worker was first.
func (s *Store) WriteResumption(ctx context.Context, provider, account string, r Resumption) (Resumption, error) {
	body, err := json.Marshal(r.Resumption)
	if err != nil {
		return Resumption{}, fmt.Errorf("encode resumption: %w", err)
	}
	ack, err := s.js.Publish(ctx, subject.Resumption(provider, account), body, jetstream.WithExpectLastSequencePerSubject(r.sequence))
	if err != nil {
		return Resumption{}, fmt.Errorf("write resumption: %w", err)
	}
	r.sequence = ack.Sequence
	return r, nil
}
