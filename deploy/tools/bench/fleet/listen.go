package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
)

// Socket is a listening socket that a process inherits, by the name that it
// knows it by (see deploy/runtime/process).
type Socket struct {
	Name    string
	Address string // host:port
	file    *os.File
}

// Listen opens sockets on free ports of this machine.
func Listen(names ...string) ([]Socket, error) {
	var all []Socket
	for _, name := range names {
		listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return all, fmt.Errorf("open socket: %w", err)
		}
		file, err := listener.File()
		_ = listener.Close() // The file is a duplicate.
		if err != nil {
			return all, fmt.Errorf("keep socket: %w", err)
		}
		all = append(all, Socket{Name: name, Address: listener.Addr().String(), file: file})
	}
	return all, nil
}

// Release closes our side of the sockets, once a process has them.
func Release(sockets []Socket) {
	for _, s := range sockets {
		_ = s.file.Close() // It was never used here.
	}
}

// hand gives the sockets to a process after systemd's protocol.
func hand(cmd *exec.Cmd, sockets []Socket) {
	if len(sockets) == 0 {
		return
	}
	names := make([]string, len(sockets))
	for i, s := range sockets {
		names[i] = s.Name
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.file)
	}
	cmd.Env = append(cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", len(sockets)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
}

// Lines reads what one of our own subcommands writes on stdout: words, one a
// line, each given to told, and then one JSON object, which goes to last. It
// returns after that, or when ctx ends.
func (p *Process) Lines(ctx context.Context, told func(word string), last any) error {
	done := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(p.stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if !strings.HasPrefix(lines.Text(), "{") {
				told(lines.Text())
				continue
			}
			if err := json.Unmarshal(lines.Bytes(), last); err != nil {
				done <- fmt.Errorf("read what %s said: %w", p.Name, err)
				return
			}
			done <- nil
			return
		}
		done <- p.failed()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
