package operator

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/providers"
)

func newTopology(s *settings) *cobra.Command {
	return newGroup("topology", "The broker's streams and durable consumers", newApply(s), &cobra.Command{
		Use:   "diff",
		Short: "Print every field in which the broker differs",
		Long:  "Print every field in which the broker differs from what is declared. Changes nothing. Exit code 0: it does not differ; 3: it does.",
		Args:  noArguments,
		RunE:  func(c *cobra.Command, _ []string) error { return s.diff(c) },
	})
}

func newApply(s *settings) *cobra.Command {
	var shrink bool
	c := &cobra.Command{
		Use:   "apply",
		Short: "Create what is missing and change what differs",
		Long: "Create what is missing and change what differs, and print it. Applying twice changes nothing. No stream or\n" +
			"consumer is deleted. A file that gives a stream less room than it fills, or fewer replicas than it has, is\n" +
			"refused and nothing is changed, unless --shrink takes the loss: the broker then removes the oldest messages\n" +
			"of AUDIT and ADVISORIES, and any other stream refuses new ones until it has room.\n" +
			"It leaves no entry on AUDIT: its user at the broker may write no message, and at first there is no stream.",
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.atBroker(c.Context(), func(js jetstream.JetStream, declared topology.Settings, cfg *config.Config) error {
				if err := checkVersion(js.Conn().ConnectedServerVersion()); err != nil {
					return err
				}
				if !shrink {
					if err := refuseShrinking(c.Context(), js, declared, cfg); err != nil {
						return err
					}
				}
				mended, err := topology.Apply(c.Context(), js, declared)
				if err != nil {
					return fmt.Errorf("apply topology: %w", err)
				}
				return s.showDrift(c, mended, "mended: ", "nothing to do: the broker has the declared topology")
			})
		},
	}
	c.Flags().BoolVar(&shrink, "shrink", false, "also give a stream less room than it fills, or fewer replicas than it has")
	return c
}

// refuseShrinking refuses a configuration that takes bytes or replicas from a stream.
func refuseShrinking(ctx context.Context, js jetstream.JetStream, declared topology.Settings, cfg *config.Config) error {
	shrinks, err := topology.Shrinks(ctx, js, declared)
	if err != nil {
		return fmt.Errorf("compare topology: %w", err)
	}
	enough := map[topology.Setting]int64{}
	for _, one := range shrinks {
		enough[one.Setting] = max(enough[one.Setting], one.Enough)
	}
	var all []error
	for _, one := range shrinks {
		all = append(all, cfg.Refuse("topology."+string(one.Setting), shrinking(one, enough[one.Setting])))
	}
	return errors.Join(all...)
}

// shrinking says what a setting would take from a stream, and which value is enough for
// every stream.
func shrinking(one topology.Shrinking, enough int64) string {
	text := fmt.Sprintf("leaves stream %s %d replicas, but it has %d", one.Stream, one.Gets, one.Has)
	write := fmt.Sprint(enough)
	if one.Setting == topology.Store {
		text = fmt.Sprintf("leaves stream %s %s, but it fills %s", one.Stream, config.Size(one.Gets), config.Size(one.Has))
		write = storeAbove(enough).String() + " or more"
	}
	return text + ", so " + one.Loss + "; write " + write + ", or take the loss with --shrink"
}

// storeAbove is a round size of at least so many bytes.
func storeAbove(bytes int64) config.Size {
	const mib = 1 << 20
	return config.Size((bytes + mib - 1) / mib * mib)
}

func (s *settings) diff(c *cobra.Command) error {
	return s.atBroker(c.Context(), func(js jetstream.JetStream, declared topology.Settings, _ *config.Config) error {
		drift, err := topology.Diff(c.Context(), js, declared)
		if err != nil {
			return fmt.Errorf("compare topology: %w", err)
		}
		if err := s.showDrift(c, drift, "", "no difference"); err != nil || len(drift) == 0 {
			return err
		}
		return errDrift
	})
}

// atBroker calls do with the broker of the configuration.
func (s *settings) atBroker(ctx context.Context, do func(jetstream.JetStream, topology.Settings, *config.Config) error) error {
	cfg, err := config.Load(s.file, s.env, providers.All)
	if err != nil {
		return err
	}
	conn, err := connect(ctx, cfg.NATS(), topologyInbox)
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return fmt.Errorf("open jetstream: %w", err)
	}
	return do(js, cfg.Topology(), cfg)
}

// difference is a topology.Drift as JSON. Without a field, the whole object is missing.
type difference struct {
	Object string `json:"object"`
	Field  string `json:"field,omitempty"`
	Have   string `json:"have,omitempty"`
	Want   string `json:"want,omitempty"`
}

// showDrift prints one line per difference, or none's text; as JSON a list, empty for none.
func (s *settings) showDrift(c *cobra.Command, drift []topology.Drift, prefix, none string) error {
	list, lines := make([]difference, len(drift)), make([]string, len(drift))
	for i, d := range drift {
		list[i], lines[i] = difference(d), line("%s%s", prefix, d)
	}
	if len(drift) == 0 {
		lines = []string{line("%s", none)}
	}
	return s.show(c, list, lines...)
}
