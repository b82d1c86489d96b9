package deadletter_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

const (
	// others is how many further payments have dead letters in the full store. nats-server
	// walks a stream from 64 k subjects on.
	others = 80_000
	// sample is how many payments are read and marked each time.
	sample = 50
	// most is how many times as long a payment may take in the full store. The walk
	// takes 14 to 29 times as long (measured), the index 0.8 to 1.2 times.
	most = 10
)

// BenchmarkOnePaymentInAFullStore reads and marks the dead letters of payments, before and
// after those of many others are stored, and reports how many times as long it takes then.
func BenchmarkOnePaymentInAFullStore(b *testing.B) {
	for b.Loop() {
		r := &rig{Broker: testbench.Start(b, "sandbox")}
		r.store = r.open(r.JS)
		r.fill("small", 7, sample)
		r.fill("one", 7, sample)
		r.fill("two", 7, sample)
		r.readAndMark("small", 7) // The first requests of a connection take longer.
		r.fill("small", 9, sample)
		smallRead, smallMark := r.readAndMark("small", 9)
		r.fill("other", 7, others/2)
		r.fill("two", 9, sample)
		r.fill("more", 7, others/2)
		for name, observation := range map[string]uint64{"one": 7, "two": 9} {
			read, mark := r.readAndMark(name, observation)
			for what, ratio := range map[string]float64{"read": float64(read) / float64(smallRead), "mark": float64(mark) / float64(smallMark)} {
				b.ReportMetric(ratio, name+"-"+what+"-ratio")
				if ratio > most {
					b.Errorf("%s of a payment with %s dead letters takes %.0f times as long in a full store", what, name, ratio)
				}
			}
		}
		b.ReportMetric(float64(smallRead.Microseconds())/1000, "small-read-ms")
		b.ReportMetric(float64(smallMark.Microseconds())/1000, "small-mark-ms")
		r.Must(r.Stream(subject.DeadLetters).Purge(r.Ctx)) // The broker's clean-up reads what is stored, one by one.
	}
}

func numbered(name string, i int) subject.Unit {
	return subject.Unit{Provider: "sandbox", Account: "default", Payment: fmt.Sprintf("%s-%d", name, i)}
}

// fill stores a dead letter about an observation for each of count payments.
func (r *rig) fill(name string, observation uint64, count int) {
	r.T.Helper()
	l := letter(observation, record.ClassProvider)
	for i := range count {
		u := numbered(name, i)
		l.Payment = u.Payment
		body, err := json.Marshal(l)
		r.Must(err)
		_, err = r.JS.PublishAsync(u.DeadLetter(string(l.Class), l.Stage), body)
		r.Must(err)
		if i%1000 == 999 {
			<-r.JS.PublishAsyncComplete()
		}
	}
	<-r.JS.PublishAsyncComplete()
}

// readAndMark returns the middle times to read and to mark the dead letters of payments
// about an observation.
func (r *rig) readAndMark(name string, observation uint64) (read, mark time.Duration) {
	r.T.Helper()
	var reads, marks []time.Duration
	for i := range sample {
		began := time.Now()
		letters, err := r.store.LatestOf(r.Ctx, numbered(name, i), "normalize")
		r.Must(err)
		last := letters[len(letters)-1]
		if last.Observation != observation {
			r.T.Fatalf("the last dead letter is about observation %d, want %d", last.Observation, observation)
		}
		reads, began = append(reads, time.Since(began)), time.Now()
		r.Must(r.store.Mark(r.Ctx, last, record.Redriven, "ana@desk", time.Now()))
		marks = append(marks, time.Since(began))
	}
	slices.Sort(reads)
	slices.Sort(marks)
	return reads[sample/2], marks[sample/2]
}
