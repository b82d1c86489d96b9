package process

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
)

// pair returns the two ends of a connection, ours waited for on its own.
func pair(t *testing.T) (ours net.Conn, theirs *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(t, err)
	defer ln.Close() //nolint:errcheck // It has done its work.
	l := newLink()
	if ours, err = l.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	testbench.Must(t, err)
	theirs, _ = accepted.(*net.TCPConn)
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	if _, ok := ours.(*ownThread); !ok {
		t.Fatalf("the link dials a %T, which waits in Go's queue", ours)
	}
	return ours, theirs
}

// listening reads from ours until that ends, in a goroutine of its own.
func listening(ours net.Conn) (texts chan string, end chan error) {
	texts, end = make(chan string, 10), make(chan error, 1)
	go func() {
		b := make([]byte, 100)
		for {
			n, err := ours.Read(b)
			if n > 0 {
				texts <- string(b[:n])
			}
			if err != nil {
				end <- err
				return
			}
		}
	}()
	return texts, end
}

func TestConnectionOfItsOwnThreadReadsWhatComes(t *testing.T) {
	t.Parallel()
	ours, theirs := pair(t)
	texts, end := listening(ours)
	for _, text := range []string{"one", "two", "three"} {
		if _, err := theirs.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := <-texts; got != text {
			t.Fatalf("read %q, want %q", got, text)
		}
	}
	testbench.Must(t, theirs.CloseWrite())
	if err := <-end; !errors.Is(err, io.EOF) {
		t.Errorf("the other side's end reads as %v, want EOF", err)
	}
}

func TestConnectionOfItsOwnThreadEndsWithAReset(t *testing.T) {
	t.Parallel()
	ours, theirs := pair(t)
	_, end := listening(ours)
	testbench.Must(t, errors.Join(theirs.SetLinger(0), theirs.Close()))
	if err := <-end; err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a reset reads as %v, want an error that is no end", err)
	}
	if err := ours.Close(); err != nil {
		t.Errorf("closing after a reset fails: %v", err)
	}
}

func TestClosingEndsAReadThatWaits(t *testing.T) {
	t.Parallel()
	for range 50 { // Before, while and after the read begins to wait.
		ours, _ := pair(t)
		_, end := listening(ours)
		testbench.Must(t, ours.Close())
		if err := <-end; err == nil {
			t.Fatal("a read on a closed connection ends without an error")
		}
		if err := ours.Close(); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("closing twice returns %v, want that it is closed", err)
		}
	}
}

func TestClosingSendsWhatWasWritten(t *testing.T) {
	t.Parallel()
	ours, theirs := pair(t)
	if _, err := ours.Write(make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	testbench.Must(t, ours.Close())
	if got, err := io.ReadAll(theirs); err != nil || len(got) != 100_000 {
		t.Errorf("the other side got %d bytes (%v), want all 100,000", len(got), err)
	}
}

func TestDeadlineHoldsOnAThreadOfItsOwn(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(net.Conn, time.Time) error{
		"of both": net.Conn.SetDeadline, "of reads": net.Conn.SetReadDeadline,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := pair(t)
			testbench.Must(t, set(ours, time.Now().Add(time.Millisecond)))
			if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("read returns %v, want that its time is over", err)
			}
			testbench.Must(t, set(ours, time.Time{}))
			texts, _ := listening(ours)
			if _, err := theirs.Write([]byte("late")); err != nil {
				t.Fatal(err)
			}
			if got := <-texts; got != "late" {
				t.Errorf("read %q after the deadline was lifted, want what came", got)
			}
		})
	}
}
