package supervise

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// plan says how each child is started, in the order in which that is done:
// what takes messages in before what makes them.
func (s *supervisor) plan() error {
	for _, role := range slices.Backward(s.Roles) {
		book, err := s.logbook(role)
		if err != nil {
			return err
		}
		args := []string{"-config", s.configFile()}
		if role == Simulator {
			args = []string{"-listen", s.Addresses.Simulator, "-gateway", "http://" + s.Addresses.Gateway, "-state", s.payments()}
		}
		s.children = append(s.children, &child{
			plan: plan{
				role: role, path: s.binary(role), args: args, env: s.Env,
				sockets: s.sockets[role], output: book,
			},
			restarts: s.metrics.restarts.WithLabelValues(role),
			say:      s.screen.note,
		})
	}
	return nil
}

// targets are the base URLs at which the children tell their readiness and
// metrics.
func (s *supervisor) targets() map[string]string {
	urls := map[string]string{}
	for role, sockets := range s.sockets {
		urls[role] = "http://" + sockets[len(sockets)-1].address
	}
	return urls
}

// startChildren starts them all and registers their stop.
func (s *supervisor) startChildren() {
	for _, c := range s.children {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- c.keep(ctx, s.Abort) }()
		s.onStop(func() error {
			// Whoever connects from now on is refused instead of kept waiting.
			err := closeSockets(c.sockets)
			cancel()
			return errors.Join(err, <-done)
		})
	}
}

func closeSockets(sockets []*socket) error {
	var all []error
	for _, one := range sockets {
		all = append(all, one.close())
	}
	return errors.Join(all...)
}

// attend tells when everything is ready, lets the demo begin, and waits for
// the end.
func (s *supervisor) attend(ctx context.Context) error {
	if s.Listening != nil {
		s.Listening(s.Addresses)
	}
	if s.awaitReady(ctx) {
		s.screen.note("ready after %.1f s", time.Since(s.began).Seconds())
		if s.Ready != nil {
			s.Ready()
		}
		s.startDemo()
	}
	defer s.admin.stopping.Store(true)
	select {
	case <-ctx.Done():
		s.screen.note("stopping: nothing new is accepted, what was accepted is finished")
		return nil
	case err := <-s.failed:
		return err
	}
}

// How often readiness is asked for at the start, and how often a person is
// told what is missing.
const (
	readyPause = 50 * time.Millisecond
	readyWord  = 10 * time.Second
)

// awaitReady reports whether everything became ready before ctx ended.
func (s *supervisor) awaitReady(ctx context.Context) bool {
	told := time.Now()
	for {
		now := s.admin.ready(ctx)
		if now.Ready {
			return ctx.Err() == nil
		}
		if time.Since(told) >= readyWord {
			told = time.Now()
			s.screen.note("not ready yet: %s", missing(now))
		}
		if !pause(ctx, readyPause) {
			return false
		}
	}
}

func missing(r readiness) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.Roles)) {
		if p := r.Roles[name]; !p.Ready {
			all = append(all, name+" "+string(p.Detail))
		}
	}
	return strings.Join(all, ", ")
}

// startDemo plays the demo beside everything else, if there is to be one.
func (s *supervisor) startDemo() {
	if !s.plays() {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	d := newDemo("http://"+s.Addresses.Simulator, s.DemoEvery, s.began, s.Log)
	go func() {
		defer close(done)
		d.play(ctx)
	}()
	s.onStop(func() error {
		cancel()
		<-done
		return nil
	})
}

// plays reports whether there is demo traffic: it needs a provider and
// somebody to tell.
func (s *supervisor) plays() bool {
	return s.DemoEvery > 0 && slices.Contains(s.Roles, Simulator) && slices.Contains(s.Roles, Gateway)
}

// banner says what runs where.
func (s *supervisor) banner() {
	a := s.Addresses
	lines := []string{"Arauto runs on this machine. Ctrl-C stops it and leaves nothing running.", ""}
	add := func(what, where, why string) {
		lines = append(lines, fmt.Sprintf("  %-10s %-28s %s", what, where, why))
	}
	if slices.Contains(s.Roles, Gateway) {
		add("gateway", "http://"+a.Gateway, "webhooks go to POST /v1/{provider}/notifications")
	}
	if slices.Contains(s.Roles, Simulator) {
		add("simulator", "http://"+a.Simulator, "plays the providers; steer it under /_sim/")
	}
	add("admin", "http://"+a.Admin, "/readyz, /healthz and /metrics of everything, /durability")
	add("NATS", "nats://"+a.NATS, "order events are on orders.>")
	add("data", shorter(s.Dir), "kept between runs; logs are in "+shorter(s.logDir()))
	add("settings", shorter(s.configFile()), "written anew by each run")
	if len(s.Roles) < len(Roles()) {
		add("roles", strings.Join(s.Roles, ","), "only these are started (ROLES)")
	}
	demo := "No demo traffic."
	if s.plays() {
		demo = fmt.Sprintf("Demo traffic: one payment step every %v; DEMO=off for none.", s.DemoEvery)
	}
	lines = append(lines, "", "  "+demo+" Order events and what goes wrong are one line each:", "")
	s.screen.print(strings.Join(lines, "\n"))
}

// shorter is the path from the present folder, when that is the shorter one.
func shorter(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(here, path); err == nil && len(rel) < len(path) {
		return rel
	}
	return path
}
