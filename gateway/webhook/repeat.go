package webhook

import "time"

// repeatOverdue sends those once more that are on their way alone for half of
// their time.
func (p *JetStreamPublisher) repeatOverdue() {
	p.mu.Lock()
	now := time.Now()
	var list []flight
	for _, e := range p.repeats.overdue(now) {
		if _, flying := p.alone[e.token]; flying {
			list = append(list, p.fly(e, now))
		}
	}
	p.mu.Unlock()
	p.send(sending{alone: list})
}

// inProcess is how long the broker gets to finish what it says is in process.
const inProcess = 20 * time.Millisecond

// repeatSoon sends an entry once more whose first flight a replicated stream has
// not finished yet; p.mu is held.
func (p *JetStreamPublisher) repeatSoon(e *entry) {
	p.alone[e.token] = e
	time.AfterFunc(inProcess, func() {
		p.mu.Lock()
		var list []flight
		if _, flying := p.alone[e.token]; flying {
			list = append(list, p.fly(e, time.Now()))
		}
		p.mu.Unlock()
		p.send(sending{alone: list})
	})
}
