// Package stream reads a stream message by message, and repeats a
// compare-and-append that another writer won. Reads go to the stream's leader, in
// the order of sequences. They need no consumer and hold one message in memory.
package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// ahead is how many messages Each reads at once at most. A guess: more keep the broker's API
// queue busy for longer, and took no less time.
const ahead = 32

// Each calls visit for every stored message on filter above a sequence, until visit
// returns false or an error. It returns the last sequence for which visit returned true,
// where the next call goes on.
//
// With the filter All it reads up to 32 at once where the messages are dense, because a single
// read is mostly waiting; a read of another filter may cost a walk, see All. Each read asks for the first message at or above a sequence of its own, so that
// none is missed where some were removed, and the answers are taken in that order: what is
// stored between two reads is above what the first of them did not find.
func Each(ctx context.Context, s jetstream.Stream, filter string, above uint64,
	visit func(*jetstream.RawStreamMsg) (more bool, err error)) (uint64, error) {
	for window := uint64(1); ; {
		answers := make([]*jetstream.RawStreamMsg, window)
		group, reading := errgroup.WithContext(ctx)
		for i := range answers {
			group.Go(func() (err error) {
				answers[i], err = Next(reading, s, filter, above+uint64(i))
				return err
			})
		}
		failed := group.Wait()
		begin, visited := above, uint64(0)
		for i, raw := range answers {
			if begin+uint64(i) < above {
				continue // The read began at a message that is visited.
			}
			if failed != nil && raw == nil {
				return above, failed
			}
			if raw == nil {
				return above, nil
			}
			more, err := visit(raw)
			if err != nil || !more {
				return above, err
			}
			above = raw.Sequence
			visited++
		}
		switch {
		case filter != All:
		case visited > window/2:
			window = min(2*window, ahead)
		default:
			window = max(visited, 1)
		}
	}
}

// Next reads the first message on filter above a sequence, nil when there is none.
func Next(ctx context.Context, s jetstream.Stream, filter string, above uint64) (*jetstream.RawStreamMsg, error) {
	raw, err := s.GetMsg(ctx, above+1, jetstream.WithGetMsgSubject(filter))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read message above %d: %w", above, err)
	}
	return raw, nil
}

// Last reads the newest message on filter, nil when there is none.
func Last(ctx context.Context, s jetstream.Stream, filter string) (*jetstream.RawStreamMsg, error) {
	raw, err := s.GetLastMsgForSubject(ctx, filter)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read last message: %w", err)
	}
	return raw, nil
}

// Delete deletes a message. It returns nil if the message is gone already.
func Delete(ctx context.Context, s jetstream.Stream, sequence uint64) error {
	return remove(ctx, s, sequence, s.DeleteMsg)
}

// Erase is Delete by which the broker also overwrites the message on its disk with random
// bytes, its subject and headers included.
func Erase(ctx context.Context, s jetstream.Stream, sequence uint64) error {
	return remove(ctx, s, sequence, s.SecureDeleteMsg)
}

func remove(ctx context.Context, s jetstream.Stream, sequence uint64, by func(context.Context, uint64) error) error {
	err := by(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		// nats.go 1.55.0 (jetstream/stream.go, deleteMsg) keeps the broker's code 10057 as text
		// only. Before this read may go, check that the error wraps the APIError.
		if _, gone := s.GetMsg(ctx, sequence); errors.Is(gone, jetstream.ErrMsgNotFound) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("delete message %d: %w", sequence, err)
	}
	return nil
}

// Created reads when a stream was created, zero if there is none. What is stored beside a
// sequence of a stream with this time can be told from what names a stream that was
// deleted and created again. The time is part of the stream's meta data, and outlives, in
// nats-server 2.15.3:
//   - a restart, and a copy of store_dir (server/jetstream.go, EnableJetStream, from the
//     stream's meta file; in a cluster server/jetstream_cluster.go,
//     processClusterCreateStream, from the meta log);
//   - changes of the configuration and of the number of replicas (jetstream_cluster.go,
//     jsClusteredStreamUpdateRequestLocked, keeps the assignment's);
//   - on a single server, a restore from a snapshot of the first format (server/stream.go,
//     RestoreStream).
//
// A restore from a snapshot of the second format (server/stream_backup.go,
// RestoreStreamV2), and every restore into a cluster (jetstream_cluster.go,
// jsClusteredStreamRestoreRequest), gives the stream the time of the restore; Incarnation
// then knows the copied stream's, if arauto restore made it. A stream
// that lost its last messages, on a disk that did not sync them or by an older copy,
// keeps its time.
func Created(ctx context.Context, js jetstream.JetStream, name string) (time.Time, error) {
	s, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read state of %s: %w", name, err)
	}
	return Incarnation(s.CachedInfo()), nil
}

// All is the filter for every message of a stream. Any other filter, even if every
// subject matches it, has nats-server 2.15.3 compare subjects: those of the whole stream for
// its first message, and those of each block that it walks for a later one
// (server/filestore.go, numFilteredPending and firstMatching).
const All = ">"

// Since is the lowest sequence, at most limit, at or above which every message was stored
// at or after a time. It is a binary search, because the broker's timestamps rise with the
// sequence. It searches the messages of all subjects: the next one on a filter may be far,
// and the broker walks there.
func Since(ctx context.Context, s jetstream.Stream, at time.Time, limit uint64) (uint64, error) {
	low, high := uint64(1), limit
	for low < high {
		middle := low + (high-low)/2
		raw, err := Next(ctx, s, All, middle-1)
		switch {
		case err != nil:
			return 0, err
		case raw == nil || raw.Sequence >= high || !raw.Time.Before(at):
			high = middle
		default:
			low = raw.Sequence + 1
		}
	}
	return low, nil
}

// OldestAge is the age of the oldest message that a durable consumer of a stream has not
// acknowledged, 0 when there is none: the first above its ack floor that its filters let
// through.
func OldestAge(ctx context.Context, s jetstream.Stream, info *jetstream.ConsumerInfo) (age time.Duration, err error) {
	filters := info.Config.FilterSubjects
	if len(filters) == 0 {
		filters = []string{cmp.Or(info.Config.FilterSubject, ">")}
	}
	for _, filter := range filters {
		raw, err := Next(ctx, s, filter, info.AckFloor.Stream)
		if err != nil {
			return 0, fmt.Errorf("read oldest message of %s: %w", info.Name, err)
		}
		if raw != nil {
			age = max(age, time.Since(raw.Time))
		}
	}
	return age, nil
}

// ErrUnread means that the broker has a message which it cannot read now, for example because
// its disk fails. The same call may succeed later.
var ErrUnread = errors.New("the broker has a message that it cannot read now")

// NextOrNone is Next for a caller that acts on there being none. nats-server 2.15.3 answers
// every error of a read as if there were no message (server/jetstream_api.go,
// jsMsgGetRequest). It never skips what it cannot read (server/filestore.go, LoadNextMsg and
// loadLastLocked), so a message that is found further on proves that there is none before.
// Else the number of messages on filter is asked for, which it keeps in memory. Before this
// may go, check that such an error has a code of its own.
func NextOrNone(ctx context.Context, s jetstream.Stream, filter string, above uint64) (*jetstream.RawStreamMsg, error) {
	for range 2 { // A message that is stored after the first read is found by the second one.
		raw, err := Next(ctx, s, filter, above)
		if err != nil || raw != nil {
			return raw, err
		}
		last, err := Last(ctx, s, filter)
		if err != nil || last != nil && last.Sequence <= above {
			return nil, err
		}
		if last != nil {
			continue
		}
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
		if err != nil {
			return nil, fmt.Errorf("count messages on %s: %w", filter, err)
		}
		if len(info.State.Subjects) == 0 {
			return nil, nil
		}
	}
	return nil, fmt.Errorf("read message above %d on %s: %w", above, filter, ErrUnread)
}

// At reads the message of a sequence on filter, nil when it was removed. Unlike GetMsg of the
// client it returns an error if the broker cannot tell. It asks for the first message of the
// stream at or above the sequence, which costs nothing more; only if that is not found either
// it asks for those on filter.
func At(ctx context.Context, s jetstream.Stream, filter string, sequence uint64) (*jetstream.RawStreamMsg, error) {
	raw, err := Next(ctx, s, All, sequence-1)
	if err == nil && raw == nil {
		raw, err = NextOrNone(ctx, s, filter, sequence-1)
	}
	if err != nil || raw == nil || raw.Sequence != sequence {
		return nil, err
	}
	return raw, nil
}

// EachOrFail is Each from the beginning for a caller that acts on what is not there: it returns
// ErrUnread if the broker could not read all that it has.
func EachOrFail(ctx context.Context, s jetstream.Stream, filter string, visit func(*jetstream.RawStreamMsg) error) error {
	above, err := Each(ctx, s, filter, 0, func(raw *jetstream.RawStreamMsg) (bool, error) { return true, visit(raw) })
	for err == nil {
		var raw *jetstream.RawStreamMsg
		if raw, err = NextOrNone(ctx, s, filter, above); raw == nil {
			return err
		}
		above, err = raw.Sequence, visit(raw)
	}
	return err
}
