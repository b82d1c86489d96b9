package webhook

import (
	"net"
	"time"
)

// Together sets from how many concurrent notifications on they travel together,
// whatever the broker shows.
func (p *Committer) Together(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.worth.pinned = n
}

// Learned reports whether a batch has told the publisher what it costs.
func (p *Committer) Learned() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.worth.fixed.count > 0
}

// Paced makes the publisher believe that the broker has confirmed so many
// messages a second of late.
func (p *Committer) Paced(rate float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace = ackRate{since: time.Now(), rate: rate}
}

// ServeConn serves one connection without a listener, for fuzzing.
func (g *Gateway) ServeConn(c net.Conn) error { return g.app.Server().ServeConn(c) }

// Started prepares the Fiber application as Run does.
func (g *Gateway) Started() *Gateway {
	g.app.Handler()
	return g
}

// Crowding is how long callers were seen to wait for the processor, twice.
func (p *Committer) Crowding() time.Duration { return p.crowding.roundTrip() }

// BodyBytes is how much of the budget of bodies is taken, in bytes.
func (g *Gateway) BodyBytes() int64 { return g.budget.used.Load() }
