package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"arauto/deploy/runtime/durability"
	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/breaker"
)

// Health is the state of the whole deployment.
type Health struct {
	Needs     []string         `json:"needs"` // What a person must do, in sentences.
	Streams   []streamHealth   `json:"streams"`
	Consumers []consumerHealth `json:"consumers"`
	Backlog   uint64           `json:"backlog"` // Messages that are not acknowledged.
	Parked    parkedHealth     `json:"parked"`
	Circuits  []record.Circuit `json:"open_circuits"`
	HeldUntil *time.Time       `json:"held_until"` // When the hold ends that the workers rest under; null without one.

	Durability durability.Report `json:"durability"` // What a 200 of the gateway means here.

	needs []Need // Needs with what each endangers.
}

type streamHealth struct {
	Name     string   `json:"name"`
	Messages uint64   `json:"messages"`
	Bytes    uint64   `json:"bytes"`
	Fill     *float64 `json:"fill_percent"` // null where the stream has no maximum size.
	Fatal    bool     `json:"fatal"`        // When it is full it refuses messages.
	Missing  bool     `json:"missing"`      // It is declared but not there; topology apply creates it.
}

type consumerHealth struct {
	Name       string  `json:"name"`
	Stream     string  `json:"stream"`
	Pending    uint64  `json:"pending"`
	AckPending int     `json:"ack_pending"`
	Oldest     float64 `json:"oldest_age_seconds"` // 0 if nothing waits, and for ADVISORIES, which the operator may not read.
	Paused     bool    `json:"paused"`
	Unworked   bool    `json:"unworked"` // It needs a worker, and none pulls from it.
	Missing    bool    `json:"missing"`  // It is declared but not there; topology apply creates it.
}

// parkedHealth is about scheduled look-ups. The broker has no index by due time, so next_due
// is searched among the 5,000 that were scheduled first.
type parkedHealth struct {
	Count   uint64     `json:"count"`
	Sought  int        `json:"sought"` // How many were searched for next_due.
	NextDue *time.Time `json:"next_due"`

	Failed  map[string]int `json:"failed"`  // How many of those have failed before, by provider and error.
	Unknown map[string]int `json:"unknown"` // How many of those the provider does not know, by provider/account.

	Failures map[string]map[string]int `json:"-"` // How often those have failed, by provider/account and class.
}

// maxScheduled is how many scheduled look-ups status reads: about a second's worth.
const maxScheduled = 5000

func newStatus(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show what needs a person, streams, consumers, backlog, parked look-ups, open circuits and what a 200 survives",
		Long: "Show what needs a person first: open dead letters by class, providers that fail, floods of payments that\n" +
			"they do not know, open circuits, consumers without a worker, what is missing or nearly full. Then streams, consumers, backlog, parked look-ups and what a\n" +
			"200 survives. Exit code 0: nothing needs a person; 4: something does.",
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.connected(c, func(ctx context.Context, s *session) error {
				h, err := s.Health(ctx)
				if err != nil {
					return err
				}
				if err := s.show(c, h, h.lines()...); err != nil || len(h.Needs) == 0 {
					return err
				}
				return errPartly
			})
		},
	}
}

// Health reads how the deployment is, and what a person must do about it.
func (s *Deployment) Health(ctx context.Context) (Health, error) {
	var h Health
	h.Durability = durability.Look(ctx, durability.NewReader(s.js, s.config.NATS().Monitors), s.config.Durability())
	declared := s.config.Topology()
	var waiting uint64
	for _, d := range topology.Streams(declared) {
		one, err := s.stream(ctx, d.Name)
		if err != nil {
			return h, err
		}
		if room := topology.RetriesRoom(declared); d.Name == subject.LookupRetries && !one.Missing && room > 0 {
			one.Fill = filled(one.Bytes, room) // Its configuration has no bound.
		}
		h.Streams = append(h.Streams, one)
	}
	needed := topology.Consumers(declared)
	for i, d := range slices.Concat(needed, topology.Leftovers(declared)) {
		one, err := s.consumer(ctx, d.Stream, d.Durable)
		if err != nil {
			return h, err
		}
		if one.Missing && i >= len(needed) {
			continue
		}
		h.Consumers = append(h.Consumers, one)
		h.Backlog += one.Pending + uint64(one.AckPending)
		if d.Stream == subject.LookupRetries {
			waiting += one.Pending + uint64(one.AckPending)
		}
	}
	var err error
	if h.Parked, err = s.parked(ctx, waiting); err != nil {
		return h, err
	}
	if h.Circuits, err = s.openCircuits(ctx); err != nil {
		return h, err
	}
	for i, c := range h.Consumers {
		h.Consumers[i].Unworked = c.Unworked && !s.hostsStopped(c.Name, h.Circuits)
	}
	if h.HeldUntil, err = s.HeldUntil(ctx); err != nil {
		return h, err
	}
	h.needs, err = s.needs(ctx, h)
	h.Needs = []string{}
	for _, one := range h.needs {
		h.Needs = append(h.Needs, one.What)
	}
	return h, err
}

// stream reads a stream's state and keeps it open for reading its messages.
func (s *Deployment) stream(ctx context.Context, name string) (streamHealth, error) {
	opened, err := s.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return streamHealth{Name: name, Missing: true}, nil
	}
	if err != nil {
		return streamHealth{}, fmt.Errorf("read stream %s: %w", name, err)
	}
	if slices.Contains(readable, name) {
		s.streams[name] = opened
	}
	info := opened.CachedInfo()
	one := streamHealth{
		Name: info.Config.Name, Messages: info.State.Msgs, Bytes: info.State.Bytes, Fatal: info.Config.Discard == jetstream.DiscardNew,
	}
	if info.Config.MaxBytes > 0 {
		one.Fill = filled(one.Bytes, info.Config.MaxBytes)
	}
	return one, nil
}

// filled is the share of so many bytes, in percent with one decimal.
func filled(bytes uint64, of int64) *float64 {
	fill := float64(int(1000*float64(bytes)/float64(of))) / 10
	return &fill
}

func (s *Deployment) consumer(ctx context.Context, of, name string) (consumerHealth, error) {
	durable, err := s.js.Consumer(ctx, of, name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return consumerHealth{Name: name, Stream: of, Missing: true}, nil
	}
	if err != nil {
		return consumerHealth{}, fmt.Errorf("read consumer %s: %w", name, err)
	}
	info := durable.CachedInfo()
	one := consumerHealth{Name: name, Stream: of, Pending: info.NumPending, AckPending: info.NumAckPending, Paused: info.Paused}
	if one.Unworked, err = s.unworked(ctx, durable); err != nil {
		return one, err
	}
	if s.streams[of] == nil || one.Pending+uint64(one.AckPending) == 0 {
		return one, nil
	}
	age, err := stream.OldestAge(ctx, s.streams[of], info)
	one.Oldest = age.Round(time.Millisecond).Seconds()
	return one, err
}

// parked counts the scheduled look-ups: the messages of the stream without the due ones,
// which are fired.
func (s *Deployment) parked(ctx context.Context, fired uint64) (parkedHealth, error) {
	p := parkedHealth{Failed: map[string]int{}, Unknown: map[string]int{}, Failures: map[string]map[string]int{}}
	if s.streams[subject.LookupRetries] == nil {
		return p, nil
	}
	info, err := s.streams[subject.LookupRetries].Info(ctx)
	if err != nil {
		return p, fmt.Errorf("read state of %s: %w", subject.LookupRetries, err)
	}
	p.Count = info.State.Msgs - min(fired, info.State.Msgs)
	err = s.each(ctx, subject.LookupRetries, subject.AllScheduled, 1, func(raw *jetstream.RawStreamMsg) bool {
		if due, ok := scheduled(raw); ok && (p.NextDue == nil || due.Before(*p.NextDue)) {
			p.NextDue = &due
		}
		p.count(raw)
		p.Sought++
		return p.Sought < maxScheduled
	})
	return p, err
}

// scheduled reads when the broker will fire a scheduled look-up.
func scheduled(raw *jetstream.RawStreamMsg) (time.Time, bool) {
	due, err := time.Parse("@at "+time.RFC3339Nano, raw.Header.Get("Nats-Schedule"))
	return due, err == nil
}

// circuits lists the records of every account that was ever stopped.
func (s *Deployment) circuits(ctx context.Context) ([]record.Circuit, error) {
	store, err := breaker.Open(ctx, s.js)
	if err != nil {
		return nil, err
	}
	return store.List(ctx)
}

// openCircuits are the records that are not closed.
func (s *Deployment) openCircuits(ctx context.Context) ([]record.Circuit, error) {
	open := []record.Circuit{}
	all, err := s.circuits(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = nil // The missing stream is listed.
	}
	for _, c := range all {
		if c.State != record.CircuitClosed {
			open = append(open, c)
		}
	}
	return open, err
}
