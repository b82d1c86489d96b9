package durability

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Horizon is the least age at which the stream may drop a notification: the 72 hours for
// which a failed look-up is repeated, and a day in which an operator can notice that
// look-ups have stopped.
const Horizon = (72 + 24) * time.Hour

// From these shares on, in percent, a warning says that 503s are near. They
// are no loss: a full stream refuses.
const (
	streamFull = 80
	storeFull  = 90
)

// Verdict is what a 200 means.
type Verdict struct {
	Claim    Claim      `json:"claim"`    // What it survives.
	Sentence string     `json:"sentence"` // The same for people.
	Weak     []Weakness `json:"weak"`     // Every setting that keeps it from surviving more, or from coming at all.
}

// Weakness is a setting that could be stronger.
type Weakness struct {
	Setting string `json:"setting"`
	Have    string `json:"have"`
	Why     string `json:"why"`    // What it may cost.
	Remedy  string `json:"remedy"` // What to do, as a sentence begins after "; ".

	costs Claim
}

// String is the weakness in one line.
func (w Weakness) String() string {
	return fmt.Sprintf("%s is %s, so %s; %s", w.Setting, w.Have, w.Why, w.Remedy)
}

// Judge says what a 200 survives on a broker with these facts.
func Judge(f Facts) Verdict {
	v := Verdict{Claim: everything, Weak: weaknesses(f)}
	for _, w := range v.Weak {
		v.Claim &^= w.costs
	}
	v.Sentence = sentence(f, v.Claim)
	return v
}

// missing are the weaknesses that stand between the verdict and a claim.
func (v Verdict) missing(claimed Claim) []Weakness {
	var all []Weakness
	for _, w := range v.Weak {
		if w.costs&claimed != 0 {
			all = append(all, w)
		}
	}
	return all
}

const (
	applyTopology = "run arauto topology apply"
	remakeStream  = "it cannot be changed: drain the stream, delete it, and run arauto topology apply"
)

func weaknesses(f Facts) []Weakness {
	all := []Weakness{}
	add := func(weak bool, w Weakness) {
		if weak {
			all = append(all, w)
		}
	}
	add(f.Storage != jetstream.FileStorage, Weakness{"storage", strings.ToLower(f.Storage.String()),
		"the end of the broker's process loses every notification", remakeStream, everything})
	add(f.Persist == jetstream.AsyncPersistMode, Weakness{"persist_mode", "async",
		"a write is confirmed before it is made, whatever sync_interval says", remakeStream, everything})
	add(f.Discard != jetstream.DiscardNew, Weakness{"discard", "old",
		"a full stream drops its oldest notifications instead of refusing new ones", applyTopology, everything})
	add(f.Retention == jetstream.InterestPolicy, Weakness{"retention", "interest",
		"what no consumer waits for is confirmed and dropped", remakeStream, everything})
	add(f.MaxAge > 0 && f.MaxAge < Span(Horizon), Weakness{"max_age", f.MaxAge.String(),
		fmt.Sprintf("a notification may expire before its look-up has been repeated to the end (%v)", Horizon), applyTopology, everything})
	add(f.PerSubject > 0, Weakness{"max_msgs_per_subject", fmt.Sprint(f.PerSubject),
		"a payment's newer notifications push out older ones that nobody has read", applyTopology, everything})
	// About fsync. An asynchronous stream has none, whatever the server does.
	add(f.Sync == Lazily, Weakness{"sync_interval", serversThat(f, Lazily),
		"a power cut loses what was confirmed since the last fsync",
		"write sync_interval: always in the jetstream block of the server's configuration and restart it", PowerLoss})
	add(f.Sync != Always && f.Sync != Lazily, Weakness{"sync_interval", "unknown (" + serversThat(f, Unseen) + ")",
		"nobody can tell whether a power cut loses what was confirmed",
		"let nats.monitor_url name the monitoring address (http in the server's configuration) of every server that holds the stream", PowerLoss})
	add(f.Replicas < 3, Weakness{"replicas", fmt.Sprint(f.Replicas),
		"the loss of one machine's disk loses notifications", "run three servers (nats-cluster.conf) and set topology.replicas: 3", NodeLoss})
	percent := share(f.Bytes, f.MaxBytes)
	add(percent >= streamFull, Weakness{"fill", fmt.Sprintf("%d %% of max_bytes", percent),
		"webhooks will be answered with 503 when it is full",
		"see with arauto status why notifications are not finished, or raise topology.store", 0})
	return append(append(all, storeWeaknesses(f)...), f.failureWeaknesses()...)
}

// failureWeaknesses are about write errors, one for each server. They are no loss:
// what the broker cannot write it does not confirm.
func (f Facts) failureWeaknesses() []Weakness {
	var all []Weakness
	servers, _ := f.failing()
	for _, s := range servers {
		var what []string
		for _, e := range s.Failed {
			what = append(what, cmp.Or(e.Name, "the cluster's log")+" ("+e.Error+")")
		}
		all = append(all, Weakness{"the store of " + s.Name, "in a write error: " + strings.Join(what, ", "),
			"that server writes nothing there until it is restarted, also when its disk has room again, and what needs it waits or gets 503",
			"free space on its disk, then restart that server", 0})
	}
	return all
}

// serversThat describes the servers of one policy.
func serversThat(f Facts, sync Sync) string {
	var all []string
	for _, s := range f.Servers {
		switch {
		case s.Offline || s.Sync != sync:
		case sync == Unseen:
			all = append(all, s.Name+": "+s.Problem)
		default:
			all = append(all, s.policy()+" on "+s.Name)
		}
	}
	return cmp.Or(strings.Join(all, ", "), "no server was seen")
}

// Urgent are the facts that stop webhooks, or soon will, in sentences: write errors, and
// stores that are nearly full.
func (f Facts) Urgent() []string {
	var all []string
	for _, w := range append(f.failureWeaknesses(), storeWeaknesses(f)...) {
		all = append(all, w.String())
	}
	return all
}

func storeWeaknesses(f Facts) []Weakness {
	var all []Weakness
	for _, s := range f.Servers {
		if percent := share(s.StoreUsed, s.StoreLimit); percent >= storeFull {
			all = append(all, Weakness{"store", fmt.Sprintf("%d %% of max_file_store on %s", percent, s.Name),
				"webhooks will be answered with 503 when it is full", "raise max_file_store, and topology.store with it", 0})
		}
	}
	return all
}

// share is how much of a limit is used, in percent, 0 without a limit.
func share(used uint64, limit int64) int {
	if limit < 1 {
		return 0
	}
	return int(100 * float64(used) / float64(limit))
}

// sentence is what a 200 means, for people.
func sentence(f Facts, c Claim) string {
	if !c.Covers(ProcessKill) {
		return "A 200 means little: an accepted notification can be lost without any accident."
	}
	survives := []string{"the end of any process"}
	var not []string
	say := func(loss Claim, one, other string) {
		if c.Covers(loss) {
			survives = append(survives, one)
		} else {
			not = append(not, other)
		}
	}
	machines, cut := "the machine", "a power cut of the machine"
	if f.Replicas >= 3 {
		machines, cut = "all machines at once", "a power cut of several machines at once"
	}
	if f.Sync == Unseen {
		cut += " as far as can be seen"
	}
	say(PowerLoss, "a power cut of "+machines, cut)
	say(NodeLoss, fmt.Sprintf("the loss of %d of the %d nodes", (f.Replicas-1)/2, f.Replicas), "the loss of its disk")
	text := "A 200 means that the notification survives " + strings.Join(survives, ", ")
	if at := strings.LastIndex(text, ", "); at > 0 && len(survives) > 1 {
		text = text[:at] + " and " + text[at+len(", "):]
	}
	if len(not) > 0 {
		text += ", but not " + strings.Join(not, " nor ")
	}
	return text + "."
}
