package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// socket is a listening socket that the supervisor holds and its children
// inherit. A connection that comes while a child is being started again waits
// in the socket's queue instead of being refused.
type socket struct {
	name    string // As in LISTEN_FDNAMES, see deploy/runtime/process.
	address string // host:port, with the port that it became.
	file    *os.File
}

// busyLimit is how long an address may stay in use before that is an error.
// The children of a supervisor that was killed need a moment to end.
const busyLimit = 6 * time.Second

// busyPause is the time between two tries.
const busyPause = 100 * time.Millisecond

// openSocket listens on the address.
func openSocket(ctx context.Context, name, address string) (*socket, error) {
	listener, err := listen(ctx, address)
	if err != nil {
		return nil, err
	}
	defer listener.Close() //nolint:errcheck // The file is a duplicate and stays open.
	file, err := listener.File()
	if err != nil {
		return nil, fmt.Errorf("keep socket %s: %w", address, err)
	}
	return &socket{name: name, address: listener.Addr().String(), file: file}, nil
}

// close gives the address up. Closing twice is allowed.
func (s *socket) close() error {
	if err := s.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close socket %s: %w", s.address, err)
	}
	return nil
}

// listen opens a TCP address, and waits a little while it is in use.
func listen(ctx context.Context, address string) (*net.TCPListener, error) {
	ctx, cancel := context.WithTimeout(ctx, busyLimit)
	defer cancel()
	for {
		listener, err := listenTCP(address)
		if err == nil {
			return listener, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("open address: %w", err)
		}
		if !pause(ctx, busyPause) {
			return nil, fmt.Errorf("open address (does something else use it?): %w", err)
		}
	}
}

func listenTCP(address string) (*net.TCPListener, error) {
	resolved, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("read address: %w", err)
	}
	return net.ListenTCP("tcp", resolved)
}

// pause waits and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// hand returns the files that a child inherits, from descriptor 3 on, and the
// variables that tell it which is which. LISTEN_PID is left out: nobody knows
// it before the child has started.
func hand(sockets []*socket) (files []*os.File, env []string) {
	names := make([]string, len(sockets))
	for i, s := range sockets {
		files = append(files, s.file)
		names[i] = s.name
	}
	return files, []string{
		"LISTEN_FDS=" + strconv.Itoa(len(sockets)),
		"LISTEN_FDNAMES=" + strings.Join(names, ":"),
	}
}
