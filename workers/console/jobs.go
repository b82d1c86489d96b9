package console

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"arauto/workers/internal/deadletter"
	"arauto/workers/operator"
)

// jobRate is how many dead letters a job acts on per second, as the command does by default.
const jobRate = 10

// job is an action on many dead letters.
type job struct {
	Verb    string
	Who     string
	Reason  string
	Total   int
	Done    int
	Failed  int
	Problem string // The last one, "" for none.
	Began   time.Time
	Ended   time.Time // Zero while it runs.

	letters []deadletter.Entry
}

// jobs runs one job at a time. A job that a stop interrupts leaves the rest of its dead letters
// open.
type jobs struct {
	Options

	next chan *job

	mu   sync.Mutex
	now  *job
	stop bool // The running job is to end.
}

func newJobs(o Options) *jobs { return &jobs{Options: o, next: make(chan *job, 1)} }

// last is a copy of the running job, or of the last one; nil for none.
func (j *jobs) last() *job {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.now == nil {
		return nil
	}
	one := *j.now
	one.letters = nil
	return &one
}

// start begins a job. ok is false if another job runs.
func (j *jobs) start(one *job) (ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.now != nil && j.now.Ended.IsZero() {
		return false
	}
	one.Began, one.Total = j.Now(), len(one.letters)
	j.now, j.stop = one, false
	j.next <- one
	return true
}

// cancel ends the running job after the dead letter in hand.
func (j *jobs) cancel() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stop = true
}

// run runs jobs until ctx ends.
func (j *jobs) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case one := <-j.next:
			j.work(ctx, one)
		}
	}
}

// work acts on the dead letters of a job, so many per second.
func (j *jobs) work(ctx context.Context, one *job) {
	d, err := operator.Open(ctx, j.Acts, j.Config(), j.Tokens, one.Who)
	pace := rate.NewLimiter(jobRate, 1)
	for _, l := range one.letters {
		if err == nil {
			err = pace.Wait(ctx)
		}
		if err != nil || j.stopped() {
			break
		}
		j.note(one, actOn(ctx, d, one, l))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		one.Problem = err.Error()
	}
	one.Ended, one.letters = j.Now(), nil
	j.Log.Info("job.ended", zap.String("verb", one.Verb), zap.String("who", one.Who), zap.Int("done", one.Done), zap.Int("failed", one.Failed), zap.Int("total", one.Total))
}

func actOn(ctx context.Context, d *operator.Deployment, one *job, l deadletter.Entry) error {
	if one.Verb == verbDiscard {
		return d.Discard(ctx, l, one.Reason)
	}
	return d.Redrive(ctx, l)
}

func (j *jobs) stopped() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stop
}

// note counts the result for one dead letter.
func (j *jobs) note(one *job, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		one.Failed++
		one.Problem = err.Error()
		return
	}
	one.Done++
}
