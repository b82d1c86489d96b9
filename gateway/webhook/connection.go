package webhook

import (
	"time"

	"github.com/nats-io/nats.go"
)

// watch follows the connection until it is closed for good.
func (p *Committer) watch(changes chan nats.Status) {
	defer p.nc.RemoveStatusListener(changes)
	for !p.nc.IsClosed() {
		switch <-changes {
		case nats.CONNECTED:
			p.resend()
		case nats.CLOSED:
		default:
			p.disconnected()
		}
	}
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.disconnected()
	p.failAll()
}

// disconnected sorts the entries that a broken connection leaves. An entry that
// was not sent is refused at once. An entry that was sent may be stored, and is sent
// again under its id. A batch whose confirmation is lost is doubted like a batch that
// timed out: see expire.
func (p *Committer) disconnected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.waiting {
		p.complete(e, ErrDisconnected)
	}
	p.waiting, p.gathering = nil, false
	p.worth.rests()
	first := len(p.unsure) == 0
	if b := p.batch; b != nil && p.finishBatch(b) {
		p.markInDoubt(b)
		p.unsure = append(p.unsure, b.entries...)
	}
	for token, e := range p.alone {
		delete(p.alone, token)
		p.unsure = append(p.unsure, e)
	}
	for _, e := range p.unsure {
		e.severed = e.doubted
	}
	if first && len(p.unsure) > 0 {
		time.AfterFunc(p.options.ReconnectGrace, p.failAll)
	}
}

// failAll refuses what still waits for the connection to come back.
func (p *Committer) failAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.unsure {
		p.complete(e, ErrDisconnected)
	}
	p.unsure = nil
}

// resend sends again what was on its way when the connection broke, under the
// same ids: the stream stores each once.
func (p *Committer) resend() {
	p.mu.Lock()
	list := p.retrySingly(p.unsure, false, nil)
	p.unsure = nil
	p.mu.Unlock()
	p.send(sending{alone: list})
	p.pump()
}
