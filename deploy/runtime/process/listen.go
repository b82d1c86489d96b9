package process

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstInherited is the first descriptor that systemd's protocol passes on.
const firstInherited = 3

// Listen returns the inherited listening socket of that name, else a new one
// on addr.
//
// Sockets are inherited after systemd's protocol: LISTEN_FDS counts them from
// descriptor 3, LISTEN_FDNAMES names them with colons between. LISTEN_PID
// must be this process, or unset, because a Go supervisor cannot know the
// child's id before it starts. Whoever holds the sockets can restart the
// process without refusing one connection: they wait in the socket's queue.
// For the same reason an inherited socket stays open in this process until it
// exits, also after the listener is closed.
func Listen(name, addr string) (net.Listener, error) {
	fd, found, err := inherited(name, os.LookupEnv, os.Getpid())
	if err != nil {
		return nil, fmt.Errorf("inherit socket %s: %w", name, err)
	}
	if found {
		listener, err := adopt(name, fd)
		if err != nil {
			return nil, fmt.Errorf("inherit socket %s: %w", name, err)
		}
		return listener, nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("open socket %s: %w", name, err)
	}
	return listener, nil
}

// inherited finds the named descriptor in the environment.
func inherited(name string, env func(string) (string, bool), self int) (fd int, found bool, err error) {
	count, ok := env("LISTEN_FDS")
	if !ok {
		return 0, false, nil
	}
	if pid, ok := env("LISTEN_PID"); ok && pid != strconv.Itoa(self) {
		return 0, false, nil // The descriptors were meant for another process.
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return 0, false, errors.New("LISTEN_FDS is not a number")
	}
	list, _ := env("LISTEN_FDNAMES")
	names := strings.Split(list, ":")
	if len(names) != n && !(n == 0 && list == "") {
		return 0, false, fmt.Errorf("LISTEN_FDNAMES has %d names for %d sockets", len(names), n)
	}
	at := slices.Index(names, name)
	return firstInherited + at, at >= 0 && n > 0, nil
}

// adopt makes a listener of a duplicate of the descriptor. The original is
// left alone: closing it here could hit whatever reuses its number later.
func adopt(name string, fd int) (net.Listener, error) {
	duplicate, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate descriptor %d: %w", fd, err)
	}
	unix.CloseOnExec(fd)
	file := os.NewFile(uintptr(duplicate), name)
	defer file.Close() //nolint:errcheck // The listener has a duplicate of its own.
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("use descriptor %d: %w", fd, err)
	}
	return listener, nil
}
