package stack

import (
	"context"
	_ "embed" // The configuration is a file.
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Broker starts a broker with an empty store.
func (s *Stack) Broker(ctx context.Context) (*Process, error) {
	args := []string{"broker"}
	for _, parent := range []string{s.Dir, s.stage} {
		if parent == "" {
			continue
		}
		dir, err := os.MkdirTemp(parent, "")
		if err != nil {
			return nil, fmt.Errorf("make folder: %w", err)
		}
		args = append(args, dir)
	}
	p, err := s.Self(ctx, args...)
	if err == nil {
		p.files = append(p.files, args[1:]...)
	}
	return p, err
}

// Cluster starts three servers with empty stores, in one process.
func (s *Stack) Cluster(ctx context.Context) (*Process, error) {
	dir, err := os.MkdirTemp(s.Dir, "")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	p, err := s.Self(ctx, "brokers", filepath.Join(dir, "1"), filepath.Join(dir, "2"), filepath.Join(dir, "3"))
	if err == nil {
		p.files = append(p.files, dir)
	}
	return p, err
}

// Self starts a subcommand of the benchmark and waits until it has written
// where it listens.
func (s *Stack) Self(ctx context.Context, args ...string) (*Process, error) {
	p, err := s.start(ctx, "bench", nil, nil, args...)
	if err != nil {
		return nil, err
	}
	return p, p.announced(ctx)
}

// Role starts a binary, by its name or absolute path, and waits until it is
// ready. It inherits listening sockets on free ports under these names, see
// deploy/runtime/process: the first is its address, the last one answers
// /readyz.
func (s *Stack) Role(ctx context.Context, binary string, names []string, args ...string) (*Process, error) {
	var sockets []*os.File
	var addresses []string
	var own []io.Closer // The process has descriptors of its own.
	defer func() {
		for _, c := range own {
			_ = c.Close()
		}
	}()
	for range names {
		listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, fmt.Errorf("open socket: %w", err)
		}
		own = append(own, listener)
		socket, err := listener.File()
		if err != nil {
			return nil, fmt.Errorf("open socket: %w", err)
		}
		own = append(own, socket)
		sockets, addresses = append(sockets, socket), append(addresses, listener.Addr().String())
	}
	env := []string{fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES=" + strings.Join(names, ":")}
	p, err := s.start(ctx, binary, sockets, env, args...)
	if err != nil {
		return nil, err
	}
	p.Address = addresses[0]
	return p, p.ready(ctx, "http://"+addresses[len(addresses)-1]+"/readyz")
}

// configuration is that of every role, with capitals for what differs.
//
//go:embed arauto.yaml
var configuration string

// Configure writes the configuration of all roles and returns its file. Of the
// simulator it takes the host:port. Without the broker's monitoring the gateway
// claims no durability, because it cannot see it.
func (s *Stack) Configure(broker *Process, simulator string) (file string, err error) {
	file = s.file("yaml")
	text := strings.NewReplacer("BROKER", broker.Address, "MONITOR", broker.Monitor, "SIMULATOR", simulator).Replace(configuration)
	if broker.Monitor == "" {
		text = strings.Replace(text, "durability: power-loss", "durability: process-kill", 1)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write configuration: %w", err)
	}
	return file, nil
}

// CPU is the processor time that the process has used, user and system. It is
// that of the benchmark itself for nil, and 0 without Linux's /proc.
func (p *Process) CPU() time.Duration {
	// Behind the name, which may have blanks, they are the 12th and 13th field,
	// in hundredths of a second. See proc_pid_stat(5).
	_, rest, _ := strings.Cut(p.proc("stat"), ") ")
	fields := append(strings.Fields(rest), make([]string, 13)...)
	return time.Duration(number(fields[11])+number(fields[12])) * 10 * time.Millisecond
}

// Memory is the resident memory in MiB, now and at its peak, both 0 without
// Linux's /proc. See proc_pid_status(5).
func (p *Process) Memory() (now, peak float64) {
	_, rest, _ := strings.Cut(p.proc("status"), "VmHWM:")
	_, last, _ := strings.Cut(rest, "VmRSS:")
	return number(last) / 1024, number(rest) / 1024
}

// proc reads a file of the process from /proc.
func (p *Process) proc(name string) string {
	pid := os.Getpid()
	if p != nil {
		pid = p.cmd.Process.Pid
	}
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name)) // "" without it.
	return string(data)
}

// number is the number that a text begins with, 0 without one.
func number(text string) (n float64) {
	_, _ = fmt.Sscan(text, &n)
	return n
}
