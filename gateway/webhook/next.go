package webhook

import "time"

// sending is what goes out next: a batch, or messages one by one.
type sending struct {
	batch *batch
	alone []single
}

func (s sending) empty() bool { return s.batch == nil && len(s.alone) == 0 }

// next decides what goes out now; p.mu is held.
func (p *Committer) next(now time.Time) sending {
	p.dropCompleted()
	if len(p.alone) == 0 {
		p.heldSince = time.Time{}
	}
	waiting := len(p.waiting)
	switch {
	case waiting == 0, p.batch != nil, p.gathering && waiting < p.target:
		return sending{}
	case !p.options.Group() || now.Before(p.ungrouped) || !p.batches(waiting+len(p.alone), now):
		return sending{alone: p.takeSingles(now)}
	case len(p.alone) > 0 && waiting < overtaking && !p.pastLinger(now):
		return sending{} // They are confirmed one by one; then those who wait are a batch.
	case waiting < fromFewest:
		p.heldSince = time.Time{}                 // Those who come now are held back anew, or nobody would be a batch again.
		return sending{alone: p.takeSingles(now)} // They have been held back for nothing: so few are no batch.
	}
	p.gathering = false
	return sending{batch: p.takeBatch(now)}
}

// pastLinger reports whether those who wait have been held back for too long:
// one that is never confirmed must not hold up the others. p.mu is held.
func (p *Committer) pastLinger(now time.Time) bool {
	if p.heldSince.IsZero() {
		p.heldSince = now
		time.AfterFunc(holding, p.pump)
	}
	return now.Sub(p.heldSince) >= holding
}

// batches reports whether so many concurrent notifications travel together; p.mu
// is held. Once half of those around the last batch are back, the others are
// about to come, and would find them on their way alone.
func (p *Committer) batches(concurrent int, now time.Time) bool {
	expected := concurrent
	if 2*concurrent >= p.around {
		expected = max(concurrent, p.around)
	}
	return concurrent >= fromFewest && expected >= p.worth.size(now)
}

// threshold is from how many on notifications travel together, as far as that is
// known.
func (p *Committer) threshold() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return float64(p.worth.learned())
}

// dropCompleted forgets those at the head of the queue whose callers have gone;
// p.mu is held.
func (p *Committer) dropCompleted() {
	gone := 0
	for gone < len(p.waiting) && p.waiting[gone].settled {
		gone++
	}
	p.waiting = p.waiting[gone:]
}

// takeSingles empties the queue, each message for itself; p.mu is held. Whose
// caller has gone is not sent: he was told that it is not stored.
func (p *Committer) takeSingles(now time.Time) []single {
	if len(p.alone) == 0 {
		p.worth.begins(now)
	}
	taken := make([]single, 0, len(p.waiting))
	for _, e := range p.waiting {
		if !e.settled {
			taken = append(taken, p.startSingle(e, now))
		}
	}
	p.waiting, p.gathering, p.around = nil, false, 0
	return taken
}

// startSingle makes an entry one that waits for a confirmation of its own; p.mu is
// held. The caller sends it. It keeps its token for good: whichever of its
// flights is confirmed, it is stored. Nobody answers for a message that a broker
// had before it gave up the lead of its stream, so it is sent once more when half
// of its time is over.
func (p *Committer) startSingle(e *entry, now time.Time) single {
	if e.token == 0 {
		p.tokens++
		e.token = p.tokens
	}
	e.flights++
	p.alone[e.token] = e
	if e.flights == 1 && now.Add(p.options.Timeout/2).Before(e.until) {
		p.repeats.add(e, now.Add(p.options.Timeout/2))
	}
	return single{e, e.flights}
}

// takeBatch takes as much of the queue as a batch may hold; p.mu is held.
func (p *Committer) takeBatch(now time.Time) *batch {
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
	b.expiry = time.AfterFunc(p.options.Timeout/2, func() { p.expire(b) })
	p.batch = b
	return b
}
