// Package forgotten knows which payments an operator has erased. FORGOTTEN has a record of
// each, under a keyed hash of the payment's id, so that the record names nothing itself.
package forgotten

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// Refused is for how long webhooks and answers about an erased payment are dropped.
const Refused = time.Hour

// recount is how old the number of records may be. It is far below Refused: no event of an
// erased payment can be published before its record counts.
const recount = time.Minute

// Store reads and writes the records. It is safe for concurrent use.
type Store struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	tokens subject.Tokens

	mu      sync.Mutex
	counted time.Time // When the records were last counted.
	some    bool      // There was one then.
}

// Open binds to FORGOTTEN.
func Open(ctx context.Context, js jetstream.JetStream, tokens subject.Tokens) (*Store, error) {
	s, err := js.Stream(ctx, subject.Forgotten)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.Forgotten, err)
	}
	return &Store{js: js, stream: s, tokens: tokens}, nil
}

// Has reports whether a payment was erased. It asks the broker only in a deployment that has
// erased one, so the first event of a payment costs no round trip elsewhere. A nil Store has
// none.
func (s *Store) Has(ctx context.Context, provider, account, payment string) (bool, error) {
	if s == nil {
		return false, nil
	}
	some, err := s.any(ctx)
	if err != nil || !some {
		return false, err
	}
	raw, err := stream.Last(ctx, s.stream, s.tokens.Waiting(provider, account, payment).Forgotten())
	return raw != nil, err
}

func (s *Store) any(ctx context.Context) (bool, error) {
	s.mu.Lock()
	some, recent := s.some, time.Since(s.counted) < recount
	s.mu.Unlock()
	if recent {
		return some, nil
	}
	asked := time.Now()
	info, err := s.stream.Info(ctx)
	if err != nil {
		return false, fmt.Errorf("read state of %s: %w", subject.Forgotten, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.some, s.counted = info.State.Msgs > 0, asked
	return s.some, nil
}

// Note writes the record of a payment that is about to be erased. It must return nil before
// anything of the payment is removed.
func (s *Store) Note(ctx context.Context, provider, account, payment string, at time.Time) error {
	body, err := json.Marshal(record.Forgotten{At: at.UTC()})
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	_, err = s.js.Publish(ctx, s.tokens.Waiting(provider, account, payment).Forgotten(), body)
	if full := new(jetstream.APIError); errors.As(err, &full) {
		return fmt.Errorf("write to %s, see whether it is full: %w", subject.Forgotten, err)
	}
	if err != nil {
		return fmt.Errorf("write to %s: %w", subject.Forgotten, err)
	}
	return nil
}
