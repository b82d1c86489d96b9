package webhook

import "time"

// retransmitOverdue sends those once more that are on their way alone for half of
// their time.
func (p *Committer) retransmitOverdue() {
	p.mu.Lock()
	now := time.Now()
	var list []single
	for _, e := range p.repeats.overdue(now) {
		if _, flying := p.alone[e.token]; flying {
			list = append(list, p.startSingle(e, now))
		}
	}
	p.mu.Unlock()
	p.send(sending{alone: list})
}

// retransmitAfter is how long the broker gets to finish what it says is in process.
const retransmitAfter = 20 * time.Millisecond

// retransmitSoon sends an entry once more whose first flight a replicated stream has
// not finished yet; p.mu is held.
func (p *Committer) retransmitSoon(e *entry) {
	p.alone[e.token] = e
	time.AfterFunc(retransmitAfter, func() {
		p.mu.Lock()
		var list []single
		if _, flying := p.alone[e.token]; flying {
			list = append(list, p.startSingle(e, time.Now()))
		}
		p.mu.Unlock()
		p.send(sending{alone: list})
	})
}
