package webhook

import "time"

// sending is what goes out next: a batch, or messages one by one.
type sending struct {
	batch *batch
	alone []flight
}

func (s sending) empty() bool { return s.batch == nil && len(s.alone) == 0 }

// next decides what goes out now; p.mu is held.
func (p *JetStreamPublisher) next(now time.Time) sending {
	p.dropSettled()
	if len(p.alone) == 0 {
		p.heldSince = time.Time{}
	}
	waiting := len(p.waiting)
	switch {
	case waiting == 0, p.batch != nil, p.gathering && waiting < p.target:
		return sending{}
	case !p.options.Group() || now.Before(p.ungrouped) || !p.group(waiting+len(p.alone), now):
		return sending{alone: p.takeAlone(now)}
	case len(p.alone) > 0 && waiting < overtaking && !p.impatient(now):
		return sending{} // They are confirmed one by one; then those who wait are a batch.
	case waiting < fromFewest:
		p.heldSince = time.Time{}               // Those who come now are held back anew, or nobody would be a batch again.
		return sending{alone: p.takeAlone(now)} // They have been held back for nothing: so few are no batch.
	}
	p.gathering = false
	return sending{batch: p.takeBatch(now)}
}

// impatient reports whether those who wait have been held back for too long:
// one that is never confirmed must not hold up the others. p.mu is held.
func (p *JetStreamPublisher) impatient(now time.Time) bool {
	if p.heldSince.IsZero() {
		p.heldSince = now
		time.AfterFunc(holding, p.pump)
	}
	return now.Sub(p.heldSince) >= holding
}

// group reports whether so many concurrent notifications travel together; p.mu
// is held. Once half of those around the last batch are back, the others are
// about to come, and would find them on their way alone.
func (p *JetStreamPublisher) group(concurrent int, now time.Time) bool {
	expected := concurrent
	if 2*concurrent >= p.around {
		expected = max(concurrent, p.around)
	}
	return concurrent >= fromFewest && expected >= p.worth.enough(now)
}

// enough is from how many on notifications travel together, as far as that is
// known.
func (p *JetStreamPublisher) enough() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return float64(p.worth.usual())
}

// dropSettled forgets those at the head of the queue whose callers have gone;
// p.mu is held.
func (p *JetStreamPublisher) dropSettled() {
	gone := 0
	for gone < len(p.waiting) && p.waiting[gone].settled {
		gone++
	}
	p.waiting = p.waiting[gone:]
}

// takeAlone empties the queue, each message for itself; p.mu is held. Whose
// caller has gone is not sent: he was told that it is not stored.
func (p *JetStreamPublisher) takeAlone(now time.Time) []flight {
	if len(p.alone) == 0 {
		p.worth.begins(now)
	}
	taken := make([]flight, 0, len(p.waiting))
	for _, e := range p.waiting {
		if !e.settled {
			taken = append(taken, p.fly(e, now))
		}
	}
	p.waiting, p.gathering, p.around = nil, false, 0
	return taken
}

// fly makes an entry one that waits for a confirmation of its own; p.mu is
// held. The caller sends it. It keeps its token for good: whichever of its
// flights is confirmed, it is stored. Nobody answers for a message that a broker
// had before it gave up the lead of its stream, so it is sent once more when half
// of its time is over.
func (p *JetStreamPublisher) fly(e *entry, now time.Time) flight {
	if e.token == 0 {
		p.tokens++
		e.token = p.tokens
	}
	e.flights++
	p.alone[e.token] = e
	if e.flights == 1 && now.Add(p.options.Budget/2).Before(e.until) {
		p.repeats.add(e, now.Add(p.options.Budget/2))
	}
	return flight{e, e.flights}
}

// takeBatch takes as much of the queue as a batch may hold; p.mu is held.
func (p *JetStreamPublisher) takeBatch(now time.Time) *batch {
	p.tokens++
	b := &batch{token: p.tokens, sent: now, first: len(p.alone) == 0}
	p.worth.sends()
	size := 0
	for len(b.entries) < maxBatch && len(p.waiting) > 0 {
		e := p.waiting[0]
		if e.settled {
			p.waiting = p.waiting[1:]
			continue
		}
		size += len(e.message.Body)
		if size > maxBatchBytes && len(b.entries) > 0 {
			break
		}
		b.entries, p.waiting = append(b.entries, e), p.waiting[1:]
	}
	b.expiry = time.AfterFunc(p.options.Budget/2, func() { p.expire(b) })
	p.batch = b
	return b
}
