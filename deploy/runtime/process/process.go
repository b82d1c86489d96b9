// Package process is what every binary of Arauto has in common around its
// work: configuration, logger, broker connection, metrics, readiness, signals
// and an orderly stop. A role is a function; Main is the rest of its binary.
package process

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"go.uber.org/zap"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/version"
	"arauto/schemas/providers"
)

// The exit codes of a binary.
const (
	ExitClean   = 0 // It was asked to stop and did, or had nothing more to do.
	ExitFailed  = 1 // It could not go on.
	ExitRefused = 2 // Its arguments or configuration are wrong; starting it again is useless.
)

// defaultConfig is the configuration that `make run` writes.
const defaultConfig = ".local/arauto.yaml"

// limits bound a stop.
type limits struct {
	grace   time.Duration // For the role to return once its context has ended.
	cleanup time.Duration // For each clean-up.
}

// stopLimits leave room within the 30 seconds after which orchestrators kill.
var stopLimits = limits{grace: 20 * time.Second, cleanup: 3 * time.Second}

// Role is the work of a binary. It blocks until ctx ends and then finishes
// what it has accepted. An error that is a config.Problems refuses the
// configuration; context.Canceled after ctx has ended is a clean stop.
type Role func(ctx context.Context, k *Kit) error

// Main is the whole main function of a binary: it runs the role until
// SIGINT, SIGTERM or the end of its parent (see Parent) and exits. A second
// signal kills at once. SIGHUP reads the configuration again: see Kit.Reload.
func Main(role string, run Role) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	ctx, leave := Parent(ctx)
	code := Run(ctx, role, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr, run)
	leave()
	stop()
	os.Exit(code)
}

// gcPercent is GOGC's value of a role on the way from webhook to event. Under full load a
// gateway stays below 100 MB (measured).
const gcPercent = 200

// CollectLess has a role whose heap is small and short-lived collect garbage half as often:
// with Go's default of 100 that takes a tenth of the processor time under load (measured).
// GOGC takes precedence.
func CollectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// Run is Main without the operating system, and returns the exit code.
//
// Arguments: -config names the configuration file (else ARAUTO_CONFIG, else
// .local/arauto.yaml); -check reads it, prints it redacted to stdout and does
// not start; -version prints what the binary was built from. LOG_LEVEL is debug, info (default), warn or error. Logs are one
// JSON object per line on stderr; problems of the configuration are plain
// lines there, because a person reads them.
func Run(ctx context.Context, role string, args []string, env func(string) (string, bool), stdout, stderr io.Writer, run Role) int {
	o, err := parseArguments(role, args, env, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return ExitClean
	}
	if err != nil {
		return ExitRefused // The flag package has said why.
	}
	if o.version {
		version.Print(stdout, role)
		return ExitClean
	}
	log, flush, err := newLogger(role, env, stderr)
	if err != nil {
		return refuse(stderr, err)
	}
	defer flush()
	cfg, err := config.Load(o.config, env, providers.All, role, config.SectionTracing)
	if err != nil {
		return refuse(stderr, err)
	}
	if o.check {
		_, _ = io.WriteString(stdout, cfg.Redacted()) // A failed write to stdout cannot be reported.
		return ExitClean
	}
	return finish(log, flush, stderr, serve(ctx, role, cfg, log, stopLimits, run))
}

// finish turns the end of the work into an exit code.
func finish(log *zap.Logger, flush func(), stderr io.Writer, err error) int {
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		flush() // The plain lines come after all others.
		return refuse(stderr, problems)
	case err != nil:
		log.Error("process.failed", zap.Error(err))
		return ExitFailed
	}
	log.Info("process.stopped")
	return ExitClean
}

func refuse(stderr io.Writer, err error) int {
	_, _ = fmt.Fprintln(stderr, err) // A failed write to stderr cannot be reported.
	return ExitRefused
}

// arguments are the command line.
type arguments struct {
	config  string
	check   bool
	version bool
}

func parseArguments(role string, args []string, env func(string) (string, bool), stderr io.Writer) (arguments, error) {
	o := arguments{config: defaultConfig}
	if path, ok := env("ARAUTO_CONFIG"); ok && path != "" {
		o.config = path
	}
	flags := flag.NewFlagSet(role, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.config, "config", o.config, "configuration `file`; ARAUTO_CONFIG sets the default")
	flags.BoolVar(&o.version, "version", false, "print what this binary was built from, and exit")
	flags.BoolVar(&o.check, "check", false, "read the configuration, print it with secrets as ***, and exit")
	if err := flags.Parse(args); err != nil {
		return o, fmt.Errorf("parse arguments: %w", err)
	}
	if flags.NArg() > 0 {
		// The argument is not shown: it may be a secret that was pasted here.
		_, _ = fmt.Fprintf(flags.Output(), "%s takes no arguments, only flags\n", role)
		flags.Usage()
		return o, errors.New("parse arguments: there are some that are no flags")
	}
	return o, nil
}

// serve builds the kit, runs the role in it and stops everything again.
func serve(ctx context.Context, role string, cfg *config.Config, log *zap.Logger, l limits, run Role) error {
	k, err := newKit(role, cfg, log, l)
	if err != nil {
		return errors.Join(err, k.stop())
	}
	log.Info("process.started", zap.String("admin", k.Admin()), zap.String("config", cfg.Redacted()))
	return errors.Join(k.work(ctx, run), k.stop())
}
