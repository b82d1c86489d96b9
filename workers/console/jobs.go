package console

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"arauto/workers/internal/deadletter"
	"arauto/workers/operator"
)

// jobRate is how many dead letters a job acts on per second, as the command does by default.
const jobRate = 10

// job is an action on many dead letters.
type job struct {
	ID      string // Differs from that of every other job, also of an earlier process.
	Verb    string
	Who     string
	Reason  string
	Total   int
	Done    int
	Failed  int
	Problem string // Why the last failed one failed, "" for none.
	Broken  string // Why it ended before its last dead letter, "" if it did not or a person stopped it.
	Began   time.Time
	Ended   time.Time // Zero while it runs.
	Stopped string    // Who has stopped it, "" if it ran to its end.

	letters []deadletter.Entry
}

// Runs reports whether the job has not ended.
func (j *job) Runs() bool { return j.Ended.IsZero() }

// Left is how many dead letters it has not acted on.
func (j *job) Left() int { return j.Total - j.Done - j.Failed }

// jobs runs one job at a time. A job that a stop interrupts leaves the rest of its dead letters
// open.
type jobs struct {
	Options

	next chan *job

	mu  sync.Mutex
	now *job
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
	if j.now != nil && j.now.Runs() {
		return false
	}
	one.ID, one.Began, one.Total = uuid.NewString(), j.Now(), len(one.letters)
	j.now = one
	j.next <- one
	return true
}

// running is a copy of the job with an id, nil if it does not run.
func (j *jobs) running(id string) *job {
	if one := j.last(); one != nil && one.ID == id && one.Runs() {
		return one
	}
	return nil
}

// stop ends the running job with an id after the dead letter in hand. ok is false if that job
// does not run.
func (j *jobs) stop(id, who string) (ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.now == nil || j.now.ID != id || !j.now.Runs() {
		return false
	}
	j.now.Stopped = who
	return true
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

// work acts on the dead letters of a job, so many per second. A hold ends it.
func (j *jobs) work(ctx context.Context, one *job) {
	d, err := operator.Open(ctx, j.Acts, j.Config(), j.Tokens, one.Who)
	pace := rate.NewLimiter(jobRate, 1)
	for _, l := range one.letters {
		if err == nil {
			err = pace.Wait(ctx)
		}
		if err != nil || j.stopped(one) {
			break
		}
		failed := actOn(ctx, d, one, l)
		if errors.Is(failed, operator.ErrHeld) {
			err = failed
			break
		}
		j.note(one, failed)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		one.Broken = err.Error()
	}
	one.Ended, one.letters = j.Now(), nil
	j.Log.Info("job.ended", zap.String("verb", one.Verb), zap.String("who", one.Who), zap.String("stopped_by", one.Stopped), zap.Int("done", one.Done), zap.Int("failed", one.Failed), zap.Int("total", one.Total), zap.Error(err))
}

func actOn(ctx context.Context, d *operator.Deployment, one *job, l deadletter.Entry) error {
	if one.Verb == verbDiscard {
		return d.Discard(ctx, l, one.Reason)
	}
	return d.Redrive(ctx, l)
}

func (j *jobs) stopped(one *job) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return one.Stopped != ""
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
