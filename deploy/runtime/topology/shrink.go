package topology

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Shrinking is a stream that Apply would give less room than it fills, or
// fewer replicas than it has. Nothing in the broker refuses either.
type Shrinking struct {
	Stream  string
	Setting Setting
	Has     int64  // Bytes that it fills, or its replicas.
	Gets    int64  // Bytes that it may fill, or replicas.
	Enough  int64  // The least value of the setting that shrinks nothing.
	Loss    string // What that costs, in words.
}

// Setting names the field of Settings that shrinks a stream.
type Setting string

const (
	// Store is Settings.Store, of which a stream's room is a share.
	Store Setting = "store"
	// Replicas is Settings.Replicas.
	Replicas Setting = "replicas"
)

// Shrinks lists what Apply would shrink, in the order of the declaration. Call it before
// Apply with an operator's settings: a typing error must not cost messages.
func Shrinks(ctx context.Context, js jetstream.JetStream, s Settings) ([]Shrinking, error) {
	var all []Shrinking
	for _, want := range Streams(s) {
		stream, err := js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read stream %s: %w", want.Name, err)
		}
		have := stream.CachedInfo()
		if have.Config.Replicas > want.Replicas {
			all = append(all, Shrinking{
				Stream: want.Name, Setting: Replicas, Has: int64(have.Config.Replicas), Gets: int64(want.Replicas), Enough: int64(have.Config.Replicas),
				Loss: "copies of what it holds would be removed",
			})
		}
		filled := int64(have.State.Bytes)
		lower := have.Config.MaxBytes < 1 || want.MaxBytes < have.Config.MaxBytes
		if want.MaxBytes > 0 && lower && filled > want.MaxBytes {
			all = append(all, Shrinking{
				Stream: want.Name, Setting: Store, Has: filled, Gets: want.MaxBytes, Enough: storeFor(filled, want.MaxBytes, s.Store),
				Loss: lossOf(want.Discard),
			})
		}
	}
	return all, nil
}

func lossOf(discard jetstream.DiscardPolicy) string {
	if discard == jetstream.DiscardOld {
		return "the oldest messages would be removed"
	}
	return "it would refuse every message"
}

// storeFor is the store of which a stream's share is as much as it fills, when
// its share of a store is bound.
func storeFor(filled, bound, store int64) int64 {
	percent := bound / (store / 100)
	return (filled + percent - 1) / percent * 100
}
