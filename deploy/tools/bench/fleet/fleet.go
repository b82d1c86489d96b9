// Package fleet starts the processes of a benchmark, reads what they use of
// the machine, and ends them all, however the benchmark itself ends.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// Fleet is the folder of one benchmark and the binaries that it runs.
type Fleet struct {
	Dir    string // Everything that is written lies here,
	Memory string // but for what brokers stage; "" where there is no memory for it.
	Bin    string // Where the roles' binaries are.

	self    string // The benchmark's own binary.
	janitor *Process

	mu    sync.Mutex
	made  int
	alive map[*Process]struct{}
}

// Options are where a fleet lies.
type Options struct {
	Dir    string // A folder of its own is made below it, on this disk.
	Memory string // Likewise for what brokers stage, in memory; "" for no such.
	Bin    string // Where the roles' binaries are.
	Self   string // The benchmark's own binary.
}

// Open makes a folder for everything that is written, and one in memory.
//
// The folder is on the disk that it is told and not in the system's folder for
// temporary files: that is often memory, where syncing costs nothing.
func Open(ctx context.Context, o Options) (*Fleet, error) {
	f := &Fleet{Bin: o.Bin, self: o.Self, alive: map[*Process]struct{}{}}
	var err error
	if f.Dir, err = folder(o.Dir); err != nil {
		return nil, err
	}
	if o.Memory != "" {
		if f.Memory, err = folder(o.Memory); err != nil {
			return nil, errors.Join(fmt.Errorf("%w; -stage '' does without memory", err), f.remove())
		}
	}
	if f.janitor, err = f.Self(ctx, append([]string{"janitor"}, f.folders()...)...); err != nil {
		return nil, errors.Join(err, f.remove())
	}
	return f, nil
}

// folder makes a new folder below dir.
func folder(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	own, err := os.MkdirTemp(dir, "arauto-bench-")
	if err == nil {
		own, err = filepath.Abs(own)
	}
	if err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	return own, nil
}

// folders are those that were made.
func (f *Fleet) folders() []string {
	if f.Memory == "" {
		return []string{f.Dir}
	}
	return []string{f.Dir, f.Memory}
}

func (f *Fleet) remove() error {
	var failed []error
	for _, dir := range f.folders() {
		if err := os.RemoveAll(dir); err != nil {
			failed = append(failed, fmt.Errorf("remove folder: %w", err))
		}
	}
	return errors.Join(failed...)
}

// Close ends every process and removes the folders.
func (f *Fleet) Close() error {
	f.EndAll()
	return f.remove()
}

// EndAll ends every process that still runs.
func (f *Fleet) EndAll() {
	f.mu.Lock()
	running := make([]*Process, 0, len(f.alive))
	for p := range f.alive {
		running = append(running, p)
	}
	f.mu.Unlock()
	for _, p := range running {
		p.End()
	}
}

// Folder makes a new folder.
func (f *Fleet) Folder() (string, error) {
	name, err := os.MkdirTemp(f.Dir, "")
	if err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	return name, nil
}

// Self starts the benchmark's own binary with a subcommand.
func (f *Fleet) Self(ctx context.Context, args ...string) (*Process, error) {
	return f.start(ctx, f.self, args[0], nil, args...)
}

// Role starts the binary of a role, with the sockets that it listens on by
// the name that it knows them by.
func (f *Fleet) Role(ctx context.Context, role string, sockets []Socket, args ...string) (*Process, error) {
	return f.start(ctx, filepath.Join(f.Bin, role), role, sockets, args...)
}

// Process is a running process of the benchmark.
type Process struct {
	Name string
	PID  int
	Log  string // The file with what it writes on stderr.

	fleet  *Fleet
	own    []string // Its folders, removed when it ends.
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout *os.File // What it writes there, for Lines.
	ended  chan struct{}
	err    error
}

// start runs a binary. Its stdin is a pipe that nobody writes to: it reaches
// its end when the benchmark is gone, even when that was killed, and every
// binary ends then. It gets a process group of its own, so that Ctrl-C
// reaches the benchmark alone.
func (f *Fleet) start(ctx context.Context, path, name string, sockets []Socket, args ...string) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.made++
	p := &Process{Name: name, Log: filepath.Join(f.Dir, fmt.Sprintf("%d-%s.log", f.made, name)), fleet: f, ended: make(chan struct{})}
	f.mu.Unlock()
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer log.Close()                   //nolint:errcheck // The child has its own descriptor.
	p.cmd = exec.Command(path, args...) //nolint:noctx // End kills its whole group, which a context would not.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stderr = log
	// Logging costs, so it is that of production, whatever this terminal has set.
	p.cmd.Env = append(os.Environ(), "ARAUTO_STOP_ON_STDIN_EOF=1", "LOG_LEVEL=info")
	hand(p.cmd, sockets)
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer writer.Close() //nolint:errcheck // The child has its own descriptor.
	p.cmd.Stdout, p.stdout = writer, reader
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), reader.Close())
	}
	p.PID = p.cmd.Process.Pid
	f.mu.Lock()
	f.alive[p] = struct{}{}
	f.mu.Unlock()
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// End kills the process with its group, waits until it is gone and removes
// its log and what else it had written. Ending twice is allowed.
func (p *Process) End() {
	p.fleet.mu.Lock()
	_, running := p.fleet.alive[p]
	delete(p.fleet.alive, p)
	p.fleet.mu.Unlock()
	if !running {
		return
	}
	_ = syscall.Kill(-p.PID, syscall.SIGKILL) // It fails when all of the group have ended.
	<-p.ended
	_ = p.stdin.Close()
	_ = p.stdout.Close()
	_ = os.Remove(p.Log) // What stays behind goes with the whole folder.
	for _, dir := range p.own {
		_ = os.RemoveAll(dir)
	}
}

// failed says how the process ended, with the end of its log.
func (p *Process) failed() error {
	<-p.ended
	log, err := os.ReadFile(p.Log)
	if err := errors.Join(p.err, err); err != nil {
		return fmt.Errorf("%s ended: %w: %s", p.Name, err, log[max(0, len(log)-1000):])
	}
	return fmt.Errorf("%s ended too early: %s", p.Name, log[max(0, len(log)-1000):])
}
