package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// How a child is treated that ends without having been asked to.
const (
	firstPause = 100 * time.Millisecond // Before the second start again; the first is at once.
	maxPause   = 2 * time.Second
	healthy    = 10 * time.Second // Whoever ran that long is trusted again.
)

// stopLimit is how long a child may take to stop before it is killed. The
// process kit's own limits for a stop lie within it.
const stopLimit = 25 * time.Second

// plan is how to start a child.
type plan struct {
	role    string
	path    string
	args    []string
	env     []string
	sockets []*socket
	output  io.Writer // Its stdout and stderr.
}

// child keeps one process of a role running.
type child struct {
	plan
	restarts prometheus.Counter
	say      func(format string, args ...any) // Tells a person.

	mu    sync.Mutex
	pid   int // 0 while none runs.
	again int // Starts after the first.
}

// state is what the admin listener shows of a child.
func (c *child) state() (pid, restarts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid, c.again
}

// keep starts the process, and again whenever it ends, until ctx ends; then
// it stops it and returns when it is gone. Closing abort kills it.
func (c *child) keep(ctx context.Context, abort <-chan struct{}) error {
	wait := time.Duration(0)
	for {
		began := time.Now()
		err := c.once(ctx, abort)
		if ctx.Err() != nil {
			return err
		}
		if time.Since(began) >= healthy {
			wait = 0
		}
		c.say("%s ended (%s); starting it again", c.role, ending(err))
		if !pause(ctx, wait) {
			return nil
		}
		wait = longer(wait)
		c.restarts.Inc()
		c.mu.Lock()
		c.again++
		c.mu.Unlock()
	}
}

// longer is the pause after a pause.
func longer(wait time.Duration) time.Duration {
	return min(max(2*wait, firstPause), maxPause)
}

func ending(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// once runs the process until it ends by itself, or stops it when ctx ends.
// The error says how it ended; a clean end is nil.
func (c *child) once(ctx context.Context, abort <-chan struct{}) error {
	cmd := c.command()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer stdin.Close() //nolint:errcheck // Wait has closed it already, unless the start failed.
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c.role, err)
	}
	c.running(cmd.Process.Pid)
	defer c.running(0)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return c.stop(cmd.Process, ended, abort)
	}
}

func (c *child) running(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pid = pid
}

// command describes the process. It gets a process group of its own, because
// a terminal sends Ctrl-C to the whole group and the order of the stop is the
// supervisor's business. Its stdin is a pipe that nobody writes to: it ends
// when the supervisor does, however it ends.
func (c *child) command() *exec.Cmd {
	cmd := exec.Command(c.path, c.args...) //nolint:noctx // A context would kill it; stop asks it to end first.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = c.output, c.output
	cmd.WaitDelay = time.Second
	var vars []string
	cmd.ExtraFiles, vars = hand(c.sockets)
	cmd.Env = slices.DeleteFunc(slices.Clone(c.env), func(pair string) bool { return strings.HasPrefix(pair, "LISTEN_") })
	cmd.Env = append(append(cmd.Env, vars...), "ARAUTO_STOP_ON_STDIN_EOF=1")
	return cmd
}

// stop asks the process to end and waits for it; past the limit, or when
// abort closes, it is killed. An end that is not a clean one is an error.
func (c *child) stop(p *os.Process, ended <-chan error, abort <-chan struct{}) error {
	limit := time.NewTimer(stopLimit)
	defer limit.Stop()
	err := p.Signal(syscall.SIGTERM)
	if err == nil || errors.Is(err, os.ErrProcessDone) {
		select {
		case err = <-ended:
		case <-limit.C:
			err = kill(p, ended)
		case <-abort:
			err = kill(p, ended)
		}
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", c.role, err)
	}
	return nil
}

// kill ends the process at once and says how it ended.
func kill(p *os.Process, ended <-chan error) error {
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill: %w", err)
	}
	return <-ended
}
