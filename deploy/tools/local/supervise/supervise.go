// Package supervise runs everything on one machine: a NATS server of its own,
// the provider simulator and the real binaries as child processes. It starts
// a killed child again, prints every order event, plays a little demo traffic,
// and leaves nothing running however it ends.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
)

// Run starts everything, keeps it running until ctx ends, and stops it in the
// order of the flow. It returns nil after an orderly stop, and an error when
// something could not be started or could not go on. When it returns, no
// child is left and every address is free.
func Run(ctx context.Context, o Options) error {
	o, err := o.checked()
	if err != nil {
		return err
	}
	s := &supervisor{
		Options: o, began: time.Now(), screen: &screen{to: o.Stdout}, metrics: newMetrics(),
		sockets: map[string][]*socket{}, failed: make(chan error, 1),
	}
	if err = s.start(ctx); err == nil {
		err = s.attend(ctx)
	}
	return errors.Join(err, s.cleanUp())
}

// supervisor is one run. Its fields are set by start and only read
// afterwards.
type supervisor struct {
	Options

	began    time.Time
	screen   *screen
	metrics  *metrics
	broker   *broker
	sockets  map[string][]*socket // Of each role, the one that serves readiness and metrics last.
	children []*child             // In the order in which they are started.
	admin    *admin
	tokens   subject.Tokens // How ids that identify a person are shown.

	cleanups []func() error // Run in reverse.
	failed   chan error     // Whatever cannot go on says so here.
}

// onStop registers a clean-up; the last registered runs first.
func (s *supervisor) onStop(clean func() error) { s.cleanups = append(s.cleanups, clean) }

func (s *supervisor) cleanUp() error {
	var all []error
	for _, clean := range slices.Backward(s.cleanups) {
		all = append(all, clean())
	}
	return errors.Join(all...)
}

// start is one straight list, because each step needs what the ones before it
// have made, and the stop is its reverse: the children in the order of the
// flow, then what shows them, then the broker.
func (s *supervisor) start(ctx context.Context) error {
	if err := s.claim(); err != nil {
		return err
	}
	if err := s.openLog(); err != nil {
		return err
	}
	journal, err := s.logbook("broker")
	if err != nil {
		return err
	}
	if s.broker, err = startBroker(ctx, s.Addresses.NATS, s.dataDir(), journal.logger()); err != nil {
		return err
	}
	s.onStop(s.broker.stop)
	s.Addresses.NATS = s.broker.address()
	listener, err := s.openSockets(ctx)
	if err != nil {
		return err
	}
	s.banner()
	if err := s.configure(ctx); err != nil {
		return err
	}
	hide, err := showEvents(ctx, s.broker, s.screen, s.Log)
	if err != nil {
		return err
	}
	s.onStop(hide)
	if hide, err = showTrouble(ctx, s.broker, s.screen, s.tokens, s.Log); err != nil {
		return err
	}
	s.onStop(hide)
	if err := s.plan(); err != nil {
		return err
	}
	s.admin = newAdmin(s)
	s.onStop(s.admin.serve(listener, s.failed))
	s.startChildren()
	return nil
}

// claim makes the folder and takes it for this process alone: two brokers on
// the same files would destroy them. The claim ends with the process.
func (s *supervisor) claim() error {
	if err := os.MkdirAll(s.logDir(), 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(s.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("lock %s (does it run already?): %w", s.Dir, err), lock.Close())
	}
	s.onStop(lock.Close)
	return nil
}

func (s *supervisor) logbook(name string) (*logbook, error) {
	book, err := openLogbook(s.logDir(), name, s.screen)
	if err != nil {
		return nil, err
	}
	s.onStop(book.Close)
	return book, nil
}

func (s *supervisor) openLog() error {
	if s.Log != nil {
		return nil
	}
	book, err := s.logbook(ownRole)
	if err != nil {
		return err
	}
	s.Log = book.logger()
	return nil
}

// openSockets opens every address but the broker's. The supervisor's own
// listener is returned; the others are for the children.
func (s *supervisor) openSockets(ctx context.Context) (net.Listener, error) {
	for _, role := range s.Roles {
		for _, one := range s.wanted(role) {
			opened, err := openSocket(ctx, one.name, one.address)
			if err != nil {
				return nil, fmt.Errorf("open socket of %s: %w", role, err)
			}
			s.onStop(opened.close)
			s.sockets[role] = append(s.sockets[role], opened)
		}
	}
	if own := s.sockets[Gateway]; own != nil {
		s.Addresses.Gateway = own[0].address
	}
	if own := s.sockets[Simulator]; own != nil {
		s.Addresses.Simulator = own[0].address
	}
	listener, err := listen(ctx, s.Addresses.Admin)
	if err != nil {
		return nil, fmt.Errorf("open admin socket: %w", err)
	}
	s.onStop(func() error { // Its server closes it, if the start comes that far.
		if err := listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("close admin socket: %w", err)
		}
		return nil
	})
	s.Addresses.Admin = listener.Addr().String()
	return listener, nil
}

// wanted lists the sockets of a role under the names by which it asks for
// them, the one with its readiness and metrics last.
func (s *supervisor) wanted(role string) []socket {
	anyPort := socket{name: "admin", address: "127.0.0.1:0"}
	switch role {
	case Gateway:
		return []socket{{name: role, address: s.Addresses.Gateway}, anyPort}
	case Simulator:
		return []socket{{name: role, address: s.Addresses.Simulator}}
	}
	return []socket{anyPort}
}

// configure writes the configuration, reads it as a role would, and brings
// the broker to the topology that it says.
func (s *supervisor) configure(ctx context.Context) error {
	if err := writeSettings(s.configFile(), s.Addresses, s.broker.monitor()); err != nil {
		return err
	}
	cfg, err := config.Load(s.configFile(), s.lookupEnv, providers.All, Gateway, Lookup, Normalize, Sweep)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	key, err := cfg.HashKey()
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if s.tokens, err = subject.Keyed(key.Reveal()); err != nil {
		return fmt.Errorf("read hash_key: %w", err)
	}
	drift, err := topology.Apply(ctx, s.broker.js, topology.Settings{
		Replicas: cfg.Topology().Replicas, Store: int64(cfg.Topology().Store), Providers: providers.All.Names(),
	})
	if err != nil {
		return fmt.Errorf("apply topology: %w", err)
	}
	for _, d := range drift {
		s.Log.Info("topology mended", zap.Stringer("drift", d))
	}
	return nil
}
