package process

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// How many bytes may wait for a reader of the log, and how long the end of the process
// waits for a reader that reads nothing, and for one that reads slowly. Guesses.
const (
	outletRoom    = 4 << 20
	outletSilence = 100 * time.Millisecond
	outletEnd     = 3 * time.Second
)

// outlet writes the log in a goroutine of its own. A pipe that is not read, of a log
// collector that hangs or a stopped terminal, would otherwise block every caller that logs:
// in the end all webhooks, and the stop. Lines that find no room are lost, and a line says
// how many bytes once the pipe is read again.
type outlet struct {
	to      io.Writer
	silence time.Duration // How long the end waits for a write,
	longest time.Duration // and for all of them.
	writes  atomic.Uint64 // That have ended.

	mu     sync.Mutex
	queue  [][]byte
	bytes  int // In the queue.
	lost   int // Bytes that found no room since the last write.
	ended  bool
	more   *sync.Cond    // There is something to write, or the end.
	closed chan struct{} // The goroutine has ended.
}

func newOutlet(to io.Writer) *outlet {
	o := &outlet{to: to, silence: outletSilence, longest: outletEnd, closed: make(chan struct{})}
	o.more = sync.NewCond(&o.mu)
	go o.work()
	return o
}

// Write takes whole lines and never waits.
func (o *outlet) Write(lines []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended || o.bytes+len(lines) > outletRoom {
		o.lost += len(lines)
		return len(lines), nil
	}
	o.queue = append(o.queue, append([]byte(nil), lines...))
	o.bytes += len(lines)
	o.more.Signal()
	return len(lines), nil
}

// Sync does nothing: lines are written by the goroutine, and callers do not wait for it.
func (o *outlet) Sync() error { return nil }

// end refuses further lines and waits until all are written, for as long as the pipe is
// read.
func (o *outlet) end() {
	o.mu.Lock()
	o.ended = true
	o.more.Signal()
	o.mu.Unlock()
	tick := time.NewTicker(o.silence)
	defer tick.Stop()
	latest := time.Now().Add(o.longest)
	for before := o.writes.Load(); ; before = o.writes.Load() {
		select {
		case <-o.closed:
			return
		case now := <-tick.C: // After that the goroutine ends with the process.
			if o.writes.Load() == before || now.After(latest) {
				return
			}
		}
	}
}

func (o *outlet) work() {
	defer close(o.closed)
	for {
		lines, lost, ok := o.next()
		if !ok {
			return
		}
		if lost > 0 {
			_, _ = fmt.Fprintf(o.to, `{"level":"warn","time":%q,"msg":"log was not read, lines are lost","bytes":%d}`+"\n",
				time.Now().Format(time.RFC3339Nano), lost)
		}
		if len(lines) > 0 {
			_, _ = o.to.Write(lines) // A failed write to stderr cannot be reported.
		}
		o.writes.Add(1)
	}
}

// next waits for lines to write, and frees the room of those written. It reports false when
// all are written and end was called.
func (o *outlet) next() (lines []byte, lost int, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) == 0 && !o.ended {
		o.more.Wait()
	}
	lost, o.lost = o.lost, 0
	if len(o.queue) == 0 {
		return nil, lost, lost > 0
	}
	lines, o.queue = o.queue[0], o.queue[1:]
	o.bytes -= len(lines)
	return lines, lost, true
}
