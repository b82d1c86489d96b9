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
)

// Each calls visit for every stored message on filter above a sequence, until visit
// returns false or an error. It returns the last sequence for which visit returned true,
// where the next call goes on.
func Each(ctx context.Context, s jetstream.Stream, filter string, above uint64,
	visit func(*jetstream.RawStreamMsg) (more bool, err error)) (uint64, error) {
	for {
		raw, err := s.GetMsg(ctx, above+1, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return above, nil
		}
		if err != nil {
			return above, fmt.Errorf("read message above %d: %w", above, err)
		}
		more, err := visit(raw)
		if err != nil || !more {
			return above, err
		}
		above = raw.Sequence
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

// Delete deletes a message. One that is gone is no error.
func Delete(ctx context.Context, s jetstream.Stream, sequence uint64) error {
	err := s.DeleteMsg(ctx, sequence)
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
// jsClusteredStreamRestoreRequest), gives the stream the time of the restore. A stream
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
	return s.CachedInfo().Created, nil
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
