package operator

import (
	"context"
	"fmt"
	"io"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"arauto/deploy/process/config"
	"arauto/deploy/topology"
	"arauto/schemas/providers"
)

func newTopology(s *settings) *cobra.Command {
	group := &cobra.Command{
		Use:   "topology",
		Short: "The broker's streams and durable consumers",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("%s needs a command: apply or diff", c.CommandPath())}
		},
	}
	group.AddCommand(&cobra.Command{
		Use:   "apply",
		Short: "Create what is missing and change what differs",
		Long:  "Create what is missing and change what differs, and print it. Nothing is ever deleted. Applying twice changes nothing.",
		Args:  noArguments,
		RunE:  func(c *cobra.Command, _ []string) error { return s.apply(c.Context(), c.OutOrStdout()) },
	}, &cobra.Command{
		Use:   "diff",
		Short: "Print every field in which the broker differs",
		Long:  "Print every field in which the broker differs from what is declared. Changes nothing. Exit code 0: it does not differ; 3: it does.",
		Args:  noArguments,
		RunE:  func(c *cobra.Command, _ []string) error { return s.diff(c.Context(), c.OutOrStdout()) },
	})
	return group
}

func (s *settings) apply(ctx context.Context, w io.Writer) error {
	return s.atBroker(ctx, func(js jetstream.JetStream, declared topology.Settings) error {
		if err := checkVersion(js.Conn().ConnectedServerVersion()); err != nil {
			return err
		}
		mended, err := topology.Apply(ctx, js, declared)
		if err != nil {
			return fmt.Errorf("apply topology: %w", err)
		}
		return s.print(w, mended, "mended: ", "nothing to do: the broker has the declared topology")
	})
}

func (s *settings) diff(ctx context.Context, w io.Writer) error {
	return s.atBroker(ctx, func(js jetstream.JetStream, declared topology.Settings) error {
		drift, err := topology.Diff(ctx, js, declared)
		if err != nil {
			return fmt.Errorf("compare topology: %w", err)
		}
		if err := s.print(w, drift, "", "no difference"); err != nil || len(drift) == 0 {
			return err
		}
		return errDrift
	})
}

// atBroker does something with the broker of the configuration.
func (s *settings) atBroker(ctx context.Context, do func(jetstream.JetStream, topology.Settings) error) error {
	cfg, err := config.Load(s.config, s.env, providers.All)
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
	sizes := cfg.Topology()
	return do(js, topology.Settings{
		Replicas: sizes.Replicas, Store: int64(sizes.Store), Providers: providers.All.Names(),
	})
}

// difference is one topology.Drift as JSON. Without a field, the whole object
// is missing.
type difference struct {
	Object string `json:"object"`
	Field  string `json:"field,omitempty"`
	Have   string `json:"have,omitempty"`
	Want   string `json:"want,omitempty"`
}

// print writes one line per difference, or the word for none; as JSON a list,
// empty for none.
func (s *settings) print(w io.Writer, drift []topology.Drift, prefix, none string) error {
	if s.output == jsonOutput {
		list := make([]difference, 0, len(drift))
		for _, d := range drift {
			list = append(list, difference(d))
		}
		return writeJSON(w, list)
	}
	if len(drift) == 0 {
		return printLine(w, none)
	}
	for _, d := range drift {
		if err := printLine(w, prefix+d.String()); err != nil {
			return err
		}
	}
	return nil
}

func printLine(w io.Writer, line string) error {
	if _, err := fmt.Fprintln(w, visible(line)); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}
