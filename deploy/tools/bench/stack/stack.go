// Package stack starts the processes of a benchmark, reads what they use of
// the machine, and ends them all, however the benchmark itself ends.
package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// Stack is the folders and the processes of one benchmark. One goroutine uses
// it.
type Stack struct {
	Dir string // Everything that is written lies here, but for staged batches.

	bin     string // Where the binaries are.
	stage   string // "" when batches are staged in the broker's store.
	made    int    // Files so far.
	janitor *Process
	running []*Process
}

// Open makes a folder below dir for everything that is written and, unless
// stage is "", one below stage for batches that brokers stage. Dir is not the
// system's temporary folder, which is often in memory, where fsync is free.
func Open(ctx context.Context, dir, stage string) (s *Stack, err error) {
	s = &Stack{}
	self, err := os.Executable()
	if err == nil {
		s.bin = filepath.Dir(self)
		s.Dir, err = folder(dir)
	}
	if err == nil && stage != "" {
		s.stage, err = folder(stage)
	}
	if err == nil {
		s.janitor, err = s.start(ctx, "bench", nil, nil, "janitor", s.Dir, s.stage)
		s.running = nil
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// folder makes a new folder below dir and returns its absolute path.
func folder(dir string) (own string, err error) {
	if err = os.MkdirAll(dir, 0o700); err == nil {
		own, err = os.MkdirTemp(dir, "arauto-bench-")
	}
	if err == nil {
		own, err = filepath.Abs(own)
	}
	return own, err
}

// Close ends every process and removes the folders.
func (s *Stack) Close() error {
	s.EndAll()
	if s.janitor != nil {
		s.janitor.end()
	}
	return errors.Join(os.RemoveAll(s.Dir), os.RemoveAll(s.stage))
}

// EndAll ends every process and removes what it has written.
func (s *Stack) EndAll() {
	for _, p := range s.running {
		p.end()
	}
	s.running = nil
}

// Janitor waits until ctx ends, which it does when the benchmark is gone, and
// then removes its folders. It tries for 20 s, because the other processes
// need a moment to see that the benchmark is gone, and write until then.
func Janitor(ctx context.Context, dirs ...string) (err error) {
	<-ctx.Done()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 200 {
		left := false
		for _, dir := range dirs {
			err = os.RemoveAll(dir)
			_, missing := os.Lstat(dir)
			left = left || missing == nil
		}
		if !left {
			return nil
		}
		<-tick.C
	}
	return err
}

// Process is a running process of the benchmark.
type Process struct {
	Address string // host:port that it serves; of a broker the URL.
	Monitor string // The URL of a broker's monitoring.

	cmd   *exec.Cmd
	stdin io.Closer   // The write end of its stdin.
	files []string    // Its log and folders, which are removed when it ends.
	first chan string // The first line of its stdout.
	ended chan error
}

// start runs a binary with the files and variables that it inherits. Its stdin
// is a pipe that reaches its end when the benchmark is gone, even by SIGKILL,
// and every binary ends then. Ctrl-C reaches the benchmark only, because each
// process has a process group of its own.
func (s *Stack) start(ctx context.Context, binary string, files []*os.File, env []string, args ...string) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	log, err := os.Create(s.file("log"))
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	defer log.Close() //nolint:errcheck // The process has its own descriptor.
	if !filepath.IsAbs(binary) {
		binary = filepath.Join(s.bin, binary)
	}
	cmd := exec.Command(binary, args...) //nolint:noctx // EndAll kills it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr, cmd.ExtraFiles = log, files
	cmd.Env = slices.Concat(os.Environ(), env, []string{"ARAUTO_STOP_ON_STDIN_EOF=1", "LOG_LEVEL=info"}) // The level of production.
	stdin, wrong := cmd.StdinPipe()
	stdout, alsoWrong := cmd.StdoutPipe()
	if err := errors.Join(wrong, alsoWrong); err != nil {
		return nil, fmt.Errorf("make pipes: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start process: %w", err)
	}
	p := &Process{cmd: cmd, stdin: stdin, files: []string{log.Name()}, first: make(chan string, 1), ended: make(chan error, 1)}
	s.running = append(s.running, p)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n') // Without a line the process has ended.
		p.first <- line
		_, _ = io.Copy(io.Discard, stdout)
		p.ended <- cmd.Wait()
	}()
	return p, nil
}

// file is the path of a new file.
func (s *Stack) file(extension string) string {
	s.made++
	return filepath.Join(s.Dir, fmt.Sprintf("%d.%s", s.made, extension))
}

// end kills the process, waits until it has ended, and removes its files.
func (p *Process) end() {
	_ = p.cmd.Process.Kill() // It fails when the process has ended.
	<-p.ended                //nolint:errcheck // How it ended says nothing: it was killed.
	_ = p.stdin.Close()
	for _, path := range p.files {
		_ = os.RemoveAll(path) // Close removes what is left.
	}
}

// announced waits for the line with which a subcommand of the benchmark says
// where it listens.
func (p *Process) announced(ctx context.Context) error {
	select {
	case line := <-p.first:
		words := append(strings.Fields(line), "")
		if len(words) == 1 {
			return p.failed(<-p.ended)
		}
		p.Address, p.Monitor = words[0], words[1]
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readyTimeout is how long a process may take until it is ready: a guess, for
// a machine that is busy with tests.
const readyTimeout = 30 * time.Second

// ready waits until the process answers a URL with 200.
func (p *Process) ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		status, _, err := fasthttp.GetTimeout(nil, url, time.Second)
		if err == nil && status == fasthttp.StatusOK {
			return nil
		}
		select {
		case <-tick.C:
		case ended := <-p.ended:
			return p.failed(ended)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: status %d, %w", p.cmd, status, errors.Join(ctx.Err(), err))
		}
	}
}

// failed is the error of a process that ended by itself, with the end of its
// log.
func (p *Process) failed(ended error) error {
	p.ended <- ended // For end.
	log, err := os.ReadFile(p.files[0])
	return errors.Join(fmt.Errorf("%s ended early: %s", p.cmd, log[max(0, len(log)-1000):]), ended, err)
}
