package reconcile_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"arauto/deploy/runtime/process"
	"arauto/deploy/runtime/process/processtest"
	"arauto/schemas/subject"
)

// child keeps one process of the plant running, as every deployment does: it
// is started again when it ends by itself. Who makes trouble kills it.
type child struct {
	name string
	stop chan struct{} // Closed by whoever kills it.
	gone chan struct{} // Closed when it runs no more and will not.

	mu  sync.Mutex
	cmd *exec.Cmd
}

func (c *child) pid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cmd.Process.Pid
}

// start runs a process in the background, and again whenever it ends, until it
// is killed. A failure to start is an error of the test, so that those who make
// trouble can call it too.
func (p *plant) start(name string) {
	c := &child{name: name, stop: make(chan struct{}), gone: make(chan struct{})}
	if err := p.launch(c); err != nil {
		p.t.Errorf("start %s: %v", name, err)
		return
	}
	p.mu.Lock()
	p.running[name] = c
	p.mu.Unlock()
	go p.keep(c)
}

// again is the pause before a process that ended by itself is started again.
const again = 100 * time.Millisecond

// keep waits for the ends of a process.
func (p *plant) keep(c *child) {
	defer close(c.gone)
	for {
		err := c.cmd.Wait() // Only this function replaces it.
		select {
		case <-c.stop:
			return
		case <-p.ctx.Done():
			return
		default:
		}
		p.mu.Lock()
		p.ended[c.name]++
		p.mu.Unlock()
		switch code := c.cmd.ProcessState.ExitCode(); {
		case code == process.ExitRefused && c.name != broker:
			p.t.Errorf("%s refuses its configuration:\n%s", c.name, p.tail(c.name))
			return
		default:
			p.t.Errorf("%s ended by itself (%v):\n%s", c.name, err, p.tail(c.name))
		}
		select {
		case <-time.After(again):
		case <-c.stop:
			return
		}
		if err := p.launch(c); err != nil {
			p.t.Errorf("start %s again: %v", c.name, err)
			return
		}
	}
}

// launch starts a child's process, with the socket that it listens on if it
// has one, unless the child has been killed.
func (p *plant) launch(c *child) error {
	cmd, err := p.prepared(c.name)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := processtest.Start(cmd, p.log(c.name), map[string]*net.TCPListener{roleOf(c.name): p.sockets[roleOf(c.name)]}); err != nil {
		return err
	}
	c.cmd = cmd
	return nil
}

// prepared is the command line of a process.
func (p *plant) prepared(name string) (*exec.Cmd, error) {
	if m := p.members[name]; m != nil {
		c := p.command(broker, "-c", m.conf)
		c.Env = append(c.Env, m.env...)
		return c, nil
	}
	switch name {
	case broker:
		conf, env, err := p.shipped()
		c := p.command(name, "-c", conf)
		c.Env = append(c.Env, env...)
		return c, err
	case "simulator":
		return p.command(name, "-gateway", "http://"+p.gateway.Addr().String()), nil
	}
	_, of := p.buildOf(name)
	return p.command(name, "-config", of.config), nil
}

// kill ends a process with SIGKILL for good and waits until it is gone.
func (p *plant) kill(name string) {
	p.mu.Lock()
	c := p.running[name]
	delete(p.running, name)
	p.mu.Unlock()
	if c == nil {
		return
	}
	close(c.stop)
	for killed := false; !killed; {
		c.mu.Lock()
		_ = c.cmd.Process.Kill() // It may have ended.
		c.mu.Unlock()
		select {
		case <-c.gone:
			killed = true
		case <-time.After(again): // It was being started again.
		}
	}
}

// stop ends a process with SIGTERM, as an upgrade does, and waits until it is gone.
func (p *plant) stop(name string) {
	p.mu.Lock()
	c := p.running[name]
	delete(p.running, name)
	p.mu.Unlock()
	close(c.stop)
	c.mu.Lock()
	err := c.cmd.Process.Signal(syscall.SIGTERM)
	c.mu.Unlock()
	if err != nil {
		p.t.Errorf("stop %s: %v", name, err)
	}
	select {
	case <-c.gone:
	case <-p.ctx.Done():
		p.t.Errorf("%s does not stop", name)
	}
}

// signal sends a signal to a process that runs, and returns its id.
func (p *plant) signal(name string, s syscall.Signal) (pid int) {
	p.mu.Lock()
	c := p.running[name]
	p.mu.Unlock()
	pid = c.pid()
	if err := syscall.Kill(pid, s); err != nil {
		p.t.Errorf("send %v to %s: %v", s, name, err)
	}
	return pid
}

// loseStage removes what the broker has staged of batches of notifications, as
// when that lay in memory, and reports whether there was any. The broker must
// not run.
func (p *plant) loseStage() bool {
	stage := filepath.Join(p.store, server.JetStreamStoreDir, "ARAUTO", "streams", subject.Notifications, "batches")
	staged, err := os.ReadDir(stage)
	if os.IsNotExist(err) {
		return false // No batch has been sent since the broker was started.
	}
	if err := errors.Join(err, os.RemoveAll(stage)); err != nil {
		p.t.Errorf("lose the stage: %v", err)
	}
	return len(staged) > 0
}

// none is what endings says where all is well.
const none = "     0  ended by itself\n"

// endings says which processes ended by themselves, and how often.
func (p *plant) endings() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lines []string
	for name, n := range p.ended {
		lines = append(lines, fmt.Sprintf("%6d  ended by itself: %s\n", n, name))
	}
	if len(lines) == 0 {
		return none
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// swept counts what sweep found to do, by its own log. A notification without
// a trace should not happen; sweep may think so of one that is being finished
// just then, and asks for it once more.
func (p *plant) swept() string {
	data, err := os.ReadFile(p.log("sweep"))
	if err != nil {
		return err.Error()
	}
	var lines strings.Builder
	for what, line := range map[string]string{
		"unprocessed notifications": `"msg":"notification.unprocessed"`, "stale payments": `"reason":"stale"`, "stuck schedules": `"msg":"schedule.republished"`,
	} {
		fmt.Fprintf(&lines, "%6d  found by sweep: %s\n", strings.Count(string(data), line), what)
	}
	return lines.String()
}

func (p *plant) log(name string) string { return filepath.Join(p.dir, name+".log") }

// tail is the end of what a process has logged.
func (p *plant) tail(name string) string {
	data, err := os.ReadFile(p.log(name))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}

func (p *plant) showLogs() {
	logs, err := filepath.Glob(filepath.Join(p.dir, "*.log"))
	if err != nil {
		p.t.Log(err)
	}
	for _, log := range logs {
		name := strings.TrimSuffix(filepath.Base(log), ".log")
		p.t.Logf("%s.log ends with:\n%s", name, p.tail(name))
	}
}
