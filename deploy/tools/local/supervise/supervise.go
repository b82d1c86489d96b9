// Package supervise runs everything on one machine: an embedded NATS server, the provider
// simulator and the real binaries as child processes. It restarts a child that ended,
// prints every order event and what goes wrong, plays a little demo traffic, and leaves
// nothing running however it ends.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"arauto/schemas/subject"
)

// Run starts everything, keeps it running until ctx ends, and stops it in the order of
// the flow. It returns nil after an orderly stop, and an error when something could not
// be started or stopped. When it returns, no child is left and every address is free.
func Run(ctx context.Context, o Options) error {
	o, err := o.checked()
	if err != nil {
		return err
	}
	s := &supervisor{Options: o, began: time.Now(), screen: &screen{to: o.Stdout}}
	for _, step := range []func(context.Context) error{
		s.openFolder, s.startBroker, s.addChildren, s.serveAdmin, s.configure, s.watch, s.attend,
	} {
		if err = step(ctx); err != nil {
			break
		}
	}
	for _, clean := range slices.Backward(s.cleanups) {
		err = errors.Join(err, clean())
	}
	return err
}

// supervisor is one run.
type supervisor struct {
	Options

	began    time.Time
	log      *zap.Logger // In a file beside the children's.
	screen   *screen
	broker   *server.Server
	js       jetstream.JetStream
	children []*child       // In the order of the flow.
	tokens   subject.Tokens // How ids that identify a person are shown.
	stopping atomic.Bool
	cleanups []func() error
}

// onStop registers a clean-up; the last registered runs first.
func (s *supervisor) onStop(clean func() error) { s.cleanups = append(s.cleanups, clean) }

// openFolder makes the folder and locks it until this process ends, because two brokers on
// the same files would destroy them.
func (s *supervisor) openFolder(context.Context) error {
	if err := os.MkdirAll(s.logDir(), 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(s.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open lock: %w", err)
	}
	s.onStop(lock.Close)
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("lock %s (does it run already?): %w", s.Dir, err)
	}
	book, err := s.openLogbook("local")
	if err == nil {
		s.log = book.logger()
	}
	return err
}

// addChildren opens the logs and the sockets of all roles. The processes are started later.
func (s *supervisor) addChildren(ctx context.Context) error {
	public := map[string]*string{Gateway: &s.Addresses.Gateway, Simulator: &s.Addresses.Simulator, Console: &s.Addresses.Console}
	for _, role := range s.Roles {
		book, err := s.openLogbook(role)
		if err != nil {
			return err
		}
		c := &child{role: role, path: filepath.Join(s.BinDir, role), env: s.Env, output: book, note: s.screen.note, abort: s.Abort}
		s.children = append(s.children, c)
		s.onStop(c.closeSockets)
		if at := public[role]; at != nil {
			if *at, err = c.openSocket(ctx, role, *at); err != nil {
				return err
			}
		}
		if role != Simulator { // It has one address for everything.
			if _, err := c.openSocket(ctx, "admin", "127.0.0.1:0"); err != nil {
				return err
			}
		}
	}
	return nil
}

// attend starts the children, the gateway before the workers, plays the demo when
// everything is ready, and stops the children in the order of the flow when ctx ends.
func (s *supervisor) attend(ctx context.Context) error {
	s.banner()
	for _, c := range slices.Backward(s.children) {
		c.args = []string{"-config", s.configFile()}
		if c.role == Simulator {
			c.args = []string{"-gateway", "http://" + s.Addresses.Gateway, "-state", filepath.Join(s.Dir, "simulator.json")}
		}
		c.start()
	}
	if s.Listening != nil {
		s.Listening(s.Addresses)
	}
	var demo sync.WaitGroup
	if s.awaitReady(ctx) {
		s.screen.note("ready after %.1f s", time.Since(s.began).Seconds())
		if s.Ready != nil {
			s.Ready()
		}
		if s.plays() {
			demo.Go(func() { s.demo(ctx) })
		}
	}
	<-ctx.Done()
	s.stopping.Store(true)
	s.screen.note("stopping: nothing new is accepted, what was accepted is finished")
	demo.Wait()
	var all []error
	for _, c := range s.children {
		all = append(all, c.stop())
	}
	return errors.Join(all...)
}

// How often readiness is checked at the start, and how often the screen says that it
// lacks. Guesses.
const (
	readyPause = 50 * time.Millisecond
	readyNote  = 10 * time.Second
)

// awaitReady reports whether everything became ready before ctx ended.
func (s *supervisor) awaitReady(ctx context.Context) bool {
	noted := time.Now()
	for checks := rate.NewLimiter(rate.Every(readyPause), 1); checks.Wait(ctx) == nil; {
		if s.ready(ctx).Ready {
			return true
		}
		if time.Since(noted) >= readyNote {
			noted = time.Now()
			s.screen.note("not ready yet: http://%s/readyz says why", s.Addresses.Admin)
		}
	}
	return false
}

// plays reports whether there is demo traffic, which needs a provider and the gateway.
func (s *supervisor) plays() bool {
	return s.DemoEvery > 0 && slices.Contains(s.Roles, Simulator) && slices.Contains(s.Roles, Gateway)
}

// localPassword is that of the hash in the settings of each run. The console listens on the
// loopback address only.
const localPassword = "only on this machine"

// toAct says how to act on the console's pages: with the public password, or with that of which
// the environment has the hash.
func (s *supervisor) toAct() string {
	if !slices.Contains(s.Roles, Console) {
		return ""
	}
	with := fmt.Sprintf("the password %q", localPassword)
	if slices.ContainsFunc(s.Env, func(pair string) bool {
		return strings.HasPrefix(pair, "CONSOLE_PASSWORD_HASH=") && !strings.HasSuffix(pair, "=")
	}) {
		with = "the password of CONSOLE_PASSWORD_HASH"
	}
	return fmt.Sprintf("  %-10s log in there as operator with %s\n", "to act", with)
}

// banner says what runs where.
func (s *supervisor) banner() {
	text := "Arauto runs on this machine. Ctrl-C stops it and leaves nothing running.\n\n"
	for _, line := range [][3]string{
		{Gateway, "http://" + s.Addresses.Gateway, "webhooks go to POST /v1/{provider}/notifications"},
		{Simulator, "http://" + s.Addresses.Simulator, "plays the providers; steer it under /_sim/"},
		{Console, "http://" + s.Addresses.Console, "pages for people: payments, dead letters, health"},
		{"admin", "http://" + s.Addresses.Admin, "/readyz, /healthz and /metrics of everything, /durability"},
		{"NATS", "nats://" + s.Addresses.NATS, "order events are on orders.>"},
		{"data", s.Dir, "kept between runs; logs are in " + s.logDir()},
		{"settings", s.configFile(), "written by each run"},
		{"roles", strings.Join(s.Roles, ","), "are started; ROLES chooses them"},
	} {
		if slices.Contains(s.Roles, line[0]) || !slices.Contains(Roles(), line[0]) {
			text += fmt.Sprintf("  %-10s %-28s %s\n", line[0], line[1], line[2])
		}
	}
	text += s.toAct()
	demo := "No demo traffic."
	if s.plays() {
		demo = fmt.Sprintf("Demo traffic: one payment step every %v; DEMO=off for none.", s.DemoEvery)
	}
	s.screen.print(text + "\n  " + demo + " Order events and what goes wrong are one line each:\n")
}
