// Package operator is the operator's command line. It reads the configuration of the
// roles, and needs the secrets of their accounts only for replay --dry-run.
package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/version"
	"arauto/workers/console/access"
)

// The exit codes.
const (
	ExitDone    = 0 // Done; diff found no difference.
	ExitFailed  = 1 // Failed.
	ExitRefused = 2 // The command line or the configuration is wrong.
	ExitDrift   = 3 // diff found a difference.
	ExitPartly  = 4 // Partly done; the output says what is left.
)

// defaultConfig is the configuration that make run writes.
const defaultConfig = ".local/arauto.yaml"

// The output formats. JSON is for programs.
const (
	textOutput = "text"
	jsonOutput = "json"
)

// errDrift means that diff found a difference, which is printed.
var errDrift = errors.New("the broker differs from the declared topology")

// errPartly means that something is left to do, which is printed.
var errPartly = errors.New("not everything could be done")

// usageError is an error in the command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }

func (e usageError) Unwrap() error { return e.err }

// Run runs one command and returns its exit code. It writes results to stdout and problems
// to stderr.
func Run(ctx context.Context, args []string, env func(string) (string, bool), stdout, stderr io.Writer) int {
	err := execute(ctx, args, env, stdout, stderr)
	if err != nil && !errors.Is(err, errDrift) && !errors.Is(err, errPartly) {
		_, _ = fmt.Fprintln(stderr, visibleLines(err.Error())) // A failed write to stderr cannot be reported.
	}
	var problems config.Problems
	switch {
	case err == nil:
		return ExitDone
	case errors.Is(err, errDrift):
		return ExitDrift
	case errors.Is(err, errPartly):
		return ExitPartly
	case errors.As(err, &problems), errors.As(err, new(usageError)):
		return ExitRefused
	}
	return ExitFailed
}

// execute builds the command, runs it and classifies the errors of cobra.
func execute(ctx context.Context, args []string, env func(string) (string, bool), stdout, stderr io.Writer) error {
	s := &settings{env: env}
	root := newRoot(s)
	if slices.Equal(args, []string{"-version"}) { // As every other binary has it.
		args = []string{"--version"}
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && strings.HasPrefix(err.Error(), "unknown command") { // Cobra has no type for this error.
		return usageError{err}
	}
	return err
}

// settings are the flags of every command.
type settings struct {
	env    func(string) (string, bool)
	file   string // The configuration's.
	output string
	person string // The operator's name, see identify.
}

func newRoot(s *settings) *cobra.Command {
	root := &cobra.Command{
		Use:   "arauto",
		Short: "Operate Arauto",
		Long: "Operate Arauto: see how it is, follow one payment, act on dead letters, ask a provider again, let services\n" +
			"subscribe, and apply the declared streams and consumers to a broker.\n\n" +
			"Without flags it works beside `make run`. Whatever changes something leaves an entry on AUDIT first, but for\n" +
			"topology apply.",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if s.output != textOutput && s.output != jsonOutput {
				return usageError{fmt.Errorf("--output %q is not a format; write %s or %s", s.output, textOutput, jsonOutput)}
			}
			return nil
		},
	}
	path := defaultConfig
	if given, ok := s.env("ARAUTO_CONFIG"); ok && given != "" {
		path = given
	}
	root.PersistentFlags().StringVar(&s.file, "config", path, "configuration `file`; ARAUTO_CONFIG sets the default")
	by, _ := s.env("ARAUTO_BY")
	root.PersistentFlags().StringVar(&s.person, "by", by, "`name` of who is at work, for AUDIT; ARAUTO_BY sets the default, and without both it is\n"+
		"the system's user. Only what changes something needs it")
	root.PersistentFlags().StringVar(&s.output, "output", textOutput, "`format` of the result, text or json")
	root.Version = "arauto " + version.Read().String()
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newStatus(s), newDoctor(s), newOrder(s), newDead(s), newReplay(s), newRetry(s), newCircuit(s), newExpect(s), newForget(s), newHold(s), newBackup(s), newRestore(s), newResume(s), newWebhook(s), newSubscriber(s), newExample(), newPasswordHash(access.Hash), newMCP(s), newTopology(s), newVersion(s))
	return root
}

func newVersion(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print what this binary was built from",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			b := version.Read()
			return s.show(c, b, line("arauto %s", b))
		},
	}
}

// newGroup makes a command that does nothing by itself.
func newGroup(use, short string, commands ...*cobra.Command) *cobra.Command {
	names := make([]string, len(commands))
	for i, c := range commands {
		names[i] = c.Name()
	}
	needs := strings.Join(names, ", ")
	if last := strings.LastIndex(needs, ", "); last > 0 {
		needs = needs[:last] + " or " + needs[last+2:]
	}
	group := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("%s needs a command: %s", c.CommandPath(), needs)}
		},
	}
	group.AddCommand(commands...)
	return group
}

// noArguments refuses arguments. It does not print them, since one may be a secret that
// was pasted.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, only flags", c.CommandPath())}
	}
	return nil
}

// exactlyOne accepts one id. Its error does not print the arguments.
func exactlyOne(something string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return usageError{fmt.Errorf("%s takes one %s", c.CommandPath(), something)}
		}
		return nil
	}
}
