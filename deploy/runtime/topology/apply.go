package topology

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"arauto/deploy/runtime/stream"

	"github.com/nats-io/nats.go/jetstream"
)

// Apply brings the broker to the declared topology: it creates what is
// missing and updates what differs. Applying twice changes nothing. It returns
// the drift that it found and mended; a field that the broker refuses to
// change (retention, say) is an error that names the stream.
func Apply(ctx context.Context, js jetstream.JetStream, s Settings) ([]Drift, error) {
	drift, err := Diff(ctx, js, s)
	if err != nil {
		return nil, err
	}
	differs := func(object string) bool {
		return slices.ContainsFunc(drift, func(d Drift) bool { return d.Object == object })
	}
	for _, declared := range Streams(s) {
		if !differs("stream " + declared.Name) {
			continue
		}
		if err := keepIncarnation(ctx, js, &declared); err != nil {
			return drift, err
		}
		if _, err := js.CreateOrUpdateStream(ctx, declared); err != nil {
			return drift, fmt.Errorf("apply stream %s: %w", declared.Name, err)
		}
	}
	for _, c := range slices.Concat(Consumers(s), Leftovers(s)) {
		if !differs(c.object()) {
			continue
		}
		if _, err := js.CreateOrUpdateConsumer(ctx, c.Stream, c.ConsumerConfig); err != nil {
			return drift, fmt.Errorf("apply %s: %w", c.object(), err)
		}
	}
	return drift, nil
}

// keepIncarnation copies the incarnation that a restore has noted from the stored stream to its declaration.
func keepIncarnation(ctx context.Context, js jetstream.JetStream, declared *jetstream.StreamConfig) error {
	have, err := js.Stream(ctx, declared.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read stream %s: %w", declared.Name, err)
	}
	if at, ok := have.CachedInfo().Config.Metadata[stream.IncarnationKey]; ok {
		declared.Metadata = maps.Clone(declared.Metadata)
		declared.Metadata[stream.IncarnationKey] = at
	}
	return nil
}

// Drift is one field in which the broker differs from the declaration. Field
// is "" when the whole object is missing.
type Drift struct{ Object, Field, Have, Want string }

func (d Drift) String() string {
	if d.Field == "" {
		return d.Object + " is missing"
	}
	return fmt.Sprintf("%s: %s is %s, declared %s", d.Object, d.Field, d.Have, d.Want)
}

// Diff reports how the broker differs from the declared topology, in the
// order of the declaration. Only declared fields count. A leftover may be missing.
func Diff(ctx context.Context, js jetstream.JetStream, s Settings) ([]Drift, error) {
	all, err := diff(ctx, js, Streams(s), Consumers(s))
	if err != nil {
		return nil, err
	}
	left, err := diff(ctx, js, nil, Leftovers(s))
	return append(all, slices.DeleteFunc(left, func(d Drift) bool { return d.Field == "" })...), err
}

func diff(ctx context.Context, js jetstream.JetStream, streams []jetstream.StreamConfig, consumers []Consumer) ([]Drift, error) {
	var all []Drift
	for _, want := range streams {
		object := "stream " + want.Name
		have, err := js.Stream(ctx, want.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			all = append(all, Drift{Object: object})
			continue
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", object, err)
		}
		all = append(all, compare(object, have.CachedInfo().Config, want)...)
	}
	for _, want := range consumers {
		have, err := js.Consumer(ctx, want.Stream, want.Durable)
		switch {
		case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
			all = append(all, Drift{Object: want.object()})
			continue
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", want.object(), err)
		}
		all = append(all, compare(want.object(), have.CachedInfo().Config, want.ConsumerConfig)...)
	}
	return all, nil
}

func (c Consumer) object() string { return "consumer " + c.Durable + " of " + c.Stream }

// undeclared are fields that the broker fills in by itself, or that arauto hold
// sets.
var undeclared = []string{"name", "consumer_limits", "pause_until"}

func compare(object string, have, want any) []Drift {
	haves, wants := fields(have), fields(want)
	names := maps.Clone(haves)
	maps.Copy(names, wants)
	var all []Drift
	for _, name := range slices.Sorted(maps.Keys(names)) {
		h, w := haves[name], wants[name]
		if h == w || slices.Contains(undeclared, name) || w == "" && brokerDefault(name) {
			continue
		}
		all = append(all, Drift{Object: object, Field: name, Have: shown(h), Want: shown(w)})
	}
	return all
}

// brokerDefault reports whether the broker sets the field to a default of its
// own when the declaration leaves it out.
func brokerDefault(name string) bool {
	return slices.Contains([]string{"max_waiting", "max_consumers", "max_msgs", "max_msg_size", "max_msgs_per_subject"}, name)
}

// fields flattens a configuration to its JSON fields. A zero value counts as
// left out, because the broker leaves it out too.
func fields(config any) map[string]string {
	var tree map[string]json.RawMessage
	raw, err := json.Marshal(config)
	if err == nil {
		err = json.Unmarshal(raw, &tree)
	}
	if err != nil {
		return map[string]string{"unreadable": err.Error()}
	}
	flat := make(map[string]string, len(tree))
	for name, value := range tree {
		text := string(value)
		if name == "metadata" {
			text = watched(value)
		}
		if text == "0" || text == "false" || text == `""` || text == "null" || text == "{}" {
			text = ""
		}
		if text == "-1" && brokerDefault(name) {
			text = ""
		}
		flat[name] = text
	}
	return flat
}

func shown(value string) string {
	if value == "" {
		return "unset"
	}
	return strings.Trim(value, `"`)
}
