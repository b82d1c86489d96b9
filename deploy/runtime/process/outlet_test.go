package process

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/testbench"
)

// stubborn is a reader of the log that does not read until it is told to.
type stubborn struct {
	asked   chan struct{} // Closed when it is first given something.
	read    chan struct{}
	written chan string
	first   sync.Once
}

func newStubborn() *stubborn {
	return &stubborn{asked: make(chan struct{}), read: make(chan struct{}), written: make(chan string, 100_000)}
}

func (s *stubborn) Write(b []byte) (int, error) {
	s.first.Do(func() { close(s.asked) })
	<-s.read
	s.written <- string(b)
	return len(b), nil
}

func (s *stubborn) all() string {
	close(s.written)
	var all strings.Builder
	for text := range s.written {
		all.WriteString(text)
	}
	return all.String()
}

func TestLogThatNobodyReadsHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	s := newStubborn()
	log, end, err := newLogger("gateway", func(string) (string, bool) { return "", false }, s)
	testbench.Must(t, err)
	for i := range 3 {
		log.Error("before", zap.Int("number", i))
	}
	testbench.Receive(t, "the first line is given to the reader", s.asked) // Else all could be lost before it.
	padding := strings.Repeat("x", 1000)
	for range 2 * outletRoom / len(padding) {
		log.Info("webhook", zap.String("padding", padding))
	}
	close(s.read)
	testbench.Until(t, "the log is read", func() bool {
		log.Error("behind")
		return len(s.written) > 4
	})
	end()
	text := s.all()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	lost := 0
	for i, line := range lines {
		if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}") {
			t.Fatalf("line %d is %q", i, line)
		}
		if strings.Contains(line, "lines are lost") {
			lost++
		}
	}
	if !strings.Contains(lines[0], `"number":0`) || !strings.Contains(lines[len(lines)-1], "behind") || lost == 0 {
		t.Errorf("of %d lines %d tell of lost ones; the first is %q, the last %q", len(lines), lost, lines[0], lines[len(lines)-1])
	}
	if len(text) < outletRoom/2 || len(text) > outletRoom+outletRoom/2 {
		t.Errorf("%d bytes were written, there is room for %d", len(text), outletRoom)
	}
}

// slow is a reader that says when it is given something, and takes it when told.
type slow struct {
	given, take chan struct{}
	text        strings.Builder
}

func (s *slow) Write(b []byte) (int, error) {
	s.given <- struct{}{}
	<-s.take
	return s.text.Write(b) //nolint:wrapcheck // It never fails.
}

func TestEndOfTheLogIsWrittenForWhoReadsSlowly(t *testing.T) {
	t.Parallel()
	s := &slow{given: make(chan struct{}), take: make(chan struct{})}
	o := newOutlet(s)
	o.silence, o.longest = time.Minute, time.Hour
	write := func(text string) {
		if n, err := o.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("wrote %d of %d bytes, %v", n, len(text), err)
		}
	}
	write("first\n")
	<-s.given
	write("second\n")
	go func() {
		s.take <- struct{}{}
		<-s.given
		write(strings.Repeat("x", outletRoom+1)) // For which there is no room.
		s.take <- struct{}{}
		<-s.given
		s.take <- struct{}{}
	}()
	o.end()
	if text := s.text.String(); !strings.HasPrefix(text, "first\nsecond\n{") || !strings.Contains(text, `"bytes":`) {
		t.Errorf("it has read:\n%s", text)
	}
}

func TestProcessWhoseLogNobodyReadsStops(t *testing.T) {
	t.Parallel()
	s := newStubborn()
	defer close(s.read)
	file := t.TempDir() + "/arauto.yaml"
	text := fmt.Sprintf("profile: local\nhash_key: %s\nnats: {url: %q}\nnormalize: {admin: '127.0.0.1:0'}\n", strings.Repeat("k", 32), broker(t, nil).ClientURL())
	testbench.Must(t, os.WriteFile(file, []byte(text), 0o600))
	ctx, stop := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() {
		code <- Run(ctx, config.RoleNormalize, []string{"-config", file}, func(string) (string, bool) { return "", false }, io.Discard, s,
			func(ctx context.Context, k *Kit) error {
				k.Log.Error("something is wrong")
				stop()
				<-ctx.Done()
				return nil
			})
	}()
	if got := <-code; got != ExitClean {
		t.Errorf("it ends with %d", got)
	}
}

func TestWarningIsWrittenAtOnceWithWhatCameBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		written := &testbench.Output{}
		log, end, err := newLogger("normalize", nothing, written)
		if err != nil {
			t.Fatal(err)
		}
		defer end()
		log.Info("calm")
		synctest.Wait()
		if text := written.String(); text != "" {
			t.Errorf("a line did not wait for others: %s", text)
		}
		log.Warn("alarm")
		synctest.Wait()
		if text := written.String(); !strings.Contains(text, `"calm"`) || !strings.Contains(text, `"alarm"`) {
			t.Errorf("after a warning only this is written: %s", text)
		}
	})
}
