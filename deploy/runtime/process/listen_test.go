package process

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
)

func TestInheritedSocketIsFoundByItsName(t *testing.T) {
	t.Parallel()
	const self = 42
	for name, c := range map[string]struct {
		env   map[string]string
		fd    int
		found bool
		wrong string
	}{
		"nothing inherited":      {},
		"first of two":           {env: map[string]string{"LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:admin"}, fd: 3, found: true},
		"second of two":          {env: map[string]string{"LISTEN_FDS": "2", "LISTEN_FDNAMES": "admin:http"}, fd: 4, found: true},
		"another name":           {env: map[string]string{"LISTEN_FDS": "1", "LISTEN_FDNAMES": "https"}},
		"our process":            {env: map[string]string{"LISTEN_FDS": "1", "LISTEN_FDNAMES": "http", "LISTEN_PID": "42"}, fd: 3, found: true},
		"another process":        {env: map[string]string{"LISTEN_FDS": "1", "LISTEN_FDNAMES": "http", "LISTEN_PID": "43"}},
		"another process, wrong": {env: map[string]string{"LISTEN_FDS": "x", "LISTEN_PID": "43"}},
		"empty process id":       {env: map[string]string{"LISTEN_FDS": "1", "LISTEN_FDNAMES": "http", "LISTEN_PID": ""}},
		"none":                   {env: map[string]string{"LISTEN_FDS": "0"}},
		"no number":              {env: map[string]string{"LISTEN_FDS": "many"}, wrong: "LISTEN_FDS is not a number"},
		"negative":               {env: map[string]string{"LISTEN_FDS": "-1"}, wrong: "LISTEN_FDS is not a number"},
		"fewer names":            {env: map[string]string{"LISTEN_FDS": "2", "LISTEN_FDNAMES": "http"}, wrong: "LISTEN_FDNAMES has 1 names for 2 sockets"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fd, found, err := inherited("http", func(name string) (string, bool) { v, ok := c.env[name]; return v, ok }, self)
			switch {
			case c.wrong != "" && (err == nil || err.Error() != c.wrong), c.wrong == "" && err != nil:
				t.Errorf("the error is %v, want %q", err, c.wrong)
			case found != c.found || found && fd != c.fd:
				t.Errorf("got %d %v, want %d %v", fd, found, c.fd, c.found)
			}
		})
	}
}

func TestAdoptedDescriptorMayBeAdoptedAgain(t *testing.T) {
	t.Parallel()
	original, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(t, err)
	defer original.Close()
	file, err := original.(*net.TCPListener).File()
	testbench.Must(t, err)
	defer file.Close()
	for range 2 {
		adopted, err := adopt("http", int(file.Fd()))
		testbench.Must(t, err)
		if adopted.Addr().String() != original.Addr().String() {
			t.Errorf("it listens on %v", adopted.Addr())
		}
		if err := adopted.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDescriptorThatIsNoSocketIsRefused(t *testing.T) {
	t.Parallel()
	file, err := os.Open(os.DevNull)
	testbench.Must(t, err)
	defer file.Close()
	if _, err := adopt("http", int(file.Fd())); err == nil {
		t.Error("a file was taken for a socket")
	}
	if _, err := adopt("http", 1<<20); err == nil || !strings.Contains(err.Error(), "duplicate descriptor") {
		t.Errorf("a closed descriptor: %v", err)
	}
}

func TestListenOpensItsOwnSocketWithoutInheritance(t *testing.T) {
	t.Parallel()
	listener, err := Listen("http", "127.0.0.1:0")
	testbench.Must(t, err)
	defer listener.Close()
	if _, err := Listen("http", listener.Addr().String()); err == nil || !strings.HasPrefix(err.Error(), "open socket http: ") {
		t.Errorf("an address in use: %v", err)
	}
}

func TestContextEndsWithTheReader(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	ctx, cancel := untilEnd(t.Context(), r)
	defer cancel()
	if _, err := w.Write([]byte("noise")); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatal("it ended with the first byte")
	}
	testbench.Must(t, w.Close())
	testbench.Receive(t, "the context ends", ctx.Done())
	if cause := context.Cause(ctx); !errors.Is(cause, errParent) {
		t.Errorf("the cause is %v", cause)
	}
}
