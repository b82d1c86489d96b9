package process

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// How much waits for a reader of the log that does not read, in bytes, and for
// how long anybody waits for that reader.
const (
	outletRoom     = 4 << 20
	outletPatience = 100 * time.Millisecond
)

// outlet writes the log in a goroutine of its own. A pipe that nobody reads, of a
// collector that hangs or a screen that is stopped, would otherwise hold up
// whoever logs: in the end every webhook, and the stop. What finds no room is
// lost, and a line says how much once there is somebody to read it.
type outlet struct {
	to    io.Writer
	stuck atomic.Bool // The last wait for a write was in vain.

	mu     sync.Mutex
	queue  [][]byte
	bytes  int // In the queue.
	lost   int // Bytes that found no room since the last write.
	ended  bool
	more   *sync.Cond    // There is something to write, or the end.
	idle   chan struct{} // Closed once everything is written that is in the queue now; nil if nobody waits.
	closed chan struct{} // The goroutine has ended.
}

func newOutlet(to io.Writer) *outlet {
	o := &outlet{to: to, closed: make(chan struct{})}
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

// Sync waits until what was taken is written, but not for a reader who has not
// read for a while.
func (o *outlet) Sync() error {
	if o.stuck.Load() {
		return nil
	}
	o.mu.Lock()
	if o.bytes == 0 {
		o.mu.Unlock()
		return nil
	}
	if o.idle == nil {
		o.idle = make(chan struct{})
	}
	idle := o.idle
	o.mu.Unlock()
	timer := time.NewTimer(outletPatience)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
		o.stuck.Store(true)
	}
	return nil
}

// end writes what is left, if somebody reads it, and takes nothing more.
func (o *outlet) end() {
	o.mu.Lock()
	o.ended = true
	o.more.Signal()
	o.mu.Unlock()
	timer := time.NewTimer(outletPatience)
	defer timer.Stop()
	select {
	case <-o.closed:
	case <-timer.C: // The goroutine ends with the process.
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
		_, _ = o.to.Write(lines) // There is nowhere else to say it.
		o.stuck.Store(false)
		o.written(len(lines))
	}
}

// next waits for something to write. It reports false at the end.
func (o *outlet) next() (lines []byte, lost int, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) == 0 && !o.ended {
		o.more.Wait()
	}
	if len(o.queue) == 0 {
		return nil, 0, false
	}
	lines, o.queue = o.queue[0], o.queue[1:]
	lost, o.lost = o.lost, 0
	return lines, lost, true
}

func (o *outlet) written(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes -= n
	if o.bytes == 0 && o.idle != nil {
		close(o.idle)
		o.idle = nil
	}
}
