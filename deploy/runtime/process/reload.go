package process

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/config"
)

// reloadEvery is how often the files of the configuration are read and compared. A guess: they
// are few and small. A change is used when two rounds in a row have read the same, because an
// editor may have written half of a file.
const reloadEvery = time.Second

// reloader replaces the configuration of a running role when its files change, or on SIGHUP.
type reloader struct {
	role    string
	log     *zap.Logger
	current atomic.Pointer[config.Config]
	apply   func(*config.Config) error // Of the role.
	hangups chan os.Signal

	last     outcome // Of the last reading.
	reported string  // The problem that was reported last, "" for none.

	successful prometheus.Gauge
	succeeded  prometheus.Gauge
	reloads    *prometheus.CounterVec
}

// outcome is what one reading of the changed files gave.
type outcome struct {
	next *config.Config
	err  error
}

// same reports whether two readings in a row gave the same, so that nothing is being written.
func (o outcome) same(other outcome) bool {
	switch {
	case o.err != nil && other.err != nil:
		return o.err.Error() == other.err.Error()
	case o.next != nil && other.next != nil:
		return o.next.Same(other.next)
	}
	return false
}

// newReloader registers the metrics. From now on SIGHUP does not end the process.
func newReloader(role string, cfg *config.Config, registerer prometheus.Registerer, log *zap.Logger) *reloader {
	r := &reloader{
		role: role, log: log, hangups: make(chan os.Signal, 1),
		successful: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "arauto_config_last_reload_successful",
			Help: "1 if the configuration in use is that of the files; 0 while a change of them is refused, and the old one stays in use.",
		}),
		succeeded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "arauto_config_last_reload_success_timestamp_seconds",
			Help: "When the configuration in use was loaded, as Unix time.",
		}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_config_reloads_total",
			Help: "Reloads of the configuration since the start, by result: success, or failure for a change that was refused.",
		}, []string{"result"}),
	}
	registerer.MustRegister(r.successful, r.succeeded, r.reloads)
	for _, result := range []string{"success", "failure"} {
		r.reloads.WithLabelValues(result)
	}
	r.current.Store(cfg)
	r.successful.Set(1)
	r.succeeded.SetToCurrentTime()
	signal.Notify(r.hangups, syscall.SIGHUP)
	return r
}

// Current is the configuration in use: Config, until a reload replaces it.
func (k *Kit) Current() *config.Config { return k.reload.current.Load() }

// Reload returns the actor that replaces the configuration when its files change, and on
// SIGHUP. apply makes the role use all of a new configuration that has been checked, or
// returns an error and changes nothing. The files are first read again when the actor runs,
// so what changed while the role started is found. Call it once.
func (k *Kit) Reload(apply func(next *config.Config) error) Actor {
	k.reload.apply = apply
	return Actor{Name: "configuration", Run: k.reload.run}
}

func (r *reloader) run(ctx context.Context) error {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.hangups:
			r.reported = "" // A problem that was reported before is reported again.
			r.finish(r.read())
		case <-tick.C:
			r.look()
		}
	}
}

// look uses changed files once two looks in a row have found the same.
func (r *reloader) look() {
	if !r.current.Load().Changed() {
		r.last = outcome{}
		if r.reported != "" { // The change that was refused is undone.
			r.reported = ""
			r.successful.Set(1)
		}
		return
	}
	before := r.last
	if r.last = r.read(); r.last.same(before) {
		r.finish(r.last)
	}
}

func (r *reloader) read() outcome {
	next, err := r.current.Load().Again()
	return outcome{next, err}
}

// finish replaces the configuration, or reports once why it stays.
func (r *reloader) finish(o outcome) {
	before, err := r.current.Load(), o.err
	if err == nil {
		err = o.next.Replaces(before, r.role)
	}
	if err == nil {
		err = r.apply(o.next)
	}
	if err != nil {
		r.refuse(err)
		return
	}
	r.current.Store(o.next)
	r.last, r.reported = outcome{}, ""
	r.successful.Set(1)
	r.succeeded.SetToCurrentTime()
	r.reloads.WithLabelValues("success").Inc()
	r.log.Info("config.reloaded", zap.Strings("changed", o.next.Differences(before)))
}

// refuse reports a problem unless it was the last one reported: the files are read again
// every second until they are mended.
func (r *reloader) refuse(err error) {
	if err.Error() == r.reported {
		return
	}
	r.reported = err.Error()
	r.successful.Set(0)
	r.reloads.WithLabelValues("failure").Inc()
	r.log.Error("config.reload_failed", zap.Strings("problems", strings.Split(err.Error(), "\n")))
}
