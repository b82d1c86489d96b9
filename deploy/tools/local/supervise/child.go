package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

// A child is restarted at once restartsAtOnce times, and then every restartPause. Guesses.
const (
	restartsAtOnce = 5
	restartPause   = 2 * time.Second
)

// stopLimit is how long a child may take to stop before it is killed. It is longer than
// the 23 s of an orderly stop (see deploy/runtime/process).
const stopLimit = 25 * time.Second

// child keeps one process of a role running.
type child struct {
	role   string
	path   string
	args   []string
	env    []string
	output io.Writer // Of its stdout and stderr.
	note   func(format string, args ...any)
	abort  context.Context // Kills the process when it ends.

	// The supervisor holds the listening sockets and the process inherits them (see
	// process.Listen), so connections wait in their queues during a restart.
	names   []string // As in LISTEN_FDNAMES.
	sockets []*os.File
	admin   string // host:port of its /readyz and /metrics: the last socket.

	pid      atomic.Int64 // 0 while no process runs.
	restarts atomic.Int64
	cancel   context.CancelFunc
	done     chan error
}

// start keeps the process running in the background until stop.
func (c *child) start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan error, 1)
	go func() { c.done <- c.keep(ctx) }()
}

// stop returns when the process has ended and its addresses are free.
func (c *child) stop() error {
	c.cancel()
	return errors.Join(<-c.done, c.closeSockets())
}

// keep restarts the process whenever it ends, until ctx does.
func (c *child) keep(ctx context.Context) error {
	for limit := rate.NewLimiter(rate.Every(restartPause), restartsAtOnce); ; c.restarts.Add(1) {
		err := c.run(ctx)
		if ctx.Err() != nil {
			if err == nil || errors.Is(err, context.Canceled) { // Wait returns it for status 0 after SIGTERM.
				return nil
			}
			return fmt.Errorf("stop %s: %w", c.role, err)
		}
		if err == nil {
			err = errors.New("exit status 0")
		}
		c.note("%s ended (%v); starting it again", c.role, err)
		if limit.Wait(ctx) != nil {
			return nil //nolint:nilerr // The stop came between two starts.
		}
	}
}

// run starts the process and waits for its end. When ctx ends the process gets SIGTERM,
// and SIGKILL after stopLimit or on abort.
func (c *child) run(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.path, c.args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopLimit
	// Ctrl-C reaches a whole process group, but the supervisor stops the children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = c.output, c.output, c.sockets
	// LISTEN_PID is left out, because it is not known before the start.
	cmd.Env = slices.DeleteFunc(slices.Clone(c.env), func(pair string) bool { return strings.HasPrefix(pair, "LISTEN_") })
	cmd.Env = append(cmd.Env, "LISTEN_FDS="+strconv.Itoa(len(c.names)), "LISTEN_FDNAMES="+strings.Join(c.names, ":"),
		"ARAUTO_STOP_ON_STDIN_EOF=1")
	stdin, err := cmd.StdinPipe() // It reaches its end with the supervisor, also after SIGKILL.
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer stdin.Close() //nolint:errcheck // Wait has closed it already, unless the start failed.
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c.role, err)
	}
	c.pid.Store(int64(cmd.Process.Pid))
	defer c.pid.Store(0)
	release := context.AfterFunc(c.abort, func() { _ = cmd.Process.Kill() }) // It may have ended meanwhile.
	defer release()
	return cmd.Wait()
}

// openSocket listens on the address, and returns it with the port that the system chose.
func (c *child) openSocket(ctx context.Context, name, address string) (string, error) {
	listener, err := listen(ctx, address)
	if err != nil {
		return "", err
	}
	defer listener.Close() //nolint:errcheck // The file is a duplicate and stays open.
	file, err := listener.File()
	if err != nil {
		return "", fmt.Errorf("keep socket: %w", err)
	}
	c.names, c.sockets, c.admin = append(c.names, name), append(c.sockets, file), listener.Addr().String()
	return c.admin, nil
}

// closeSockets may be called twice.
func (c *child) closeSockets() error {
	var all []error
	for _, file := range c.sockets {
		all = append(all, file.Close())
	}
	c.sockets = nil
	return errors.Join(all...)
}

// The children of a supervisor that was killed need a moment to stop, so an address may
// stay in use for busyLimit. A guess: they stop in less than a second on an idle machine.
const (
	busyLimit = 6 * time.Second
	busyPause = 100 * time.Millisecond
)

// listen opens a TCP address, and waits up to busyLimit while it is in use.
func listen(ctx context.Context, address string) (*net.TCPListener, error) {
	resolved, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("read address: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, busyLimit)
	defer cancel()
	for tries := rate.NewLimiter(rate.Every(busyPause), 1); ; {
		listener, err := net.ListenTCP("tcp", resolved)
		if err == nil {
			return listener, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) || tries.Wait(ctx) != nil {
			return nil, fmt.Errorf("open address (does something else use it?): %w", err)
		}
	}
}
