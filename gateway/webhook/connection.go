package webhook

import (
	"time"

	"github.com/nats-io/nats.go"
)

// watch follows the connection until it is closed for good.
func (p *JetStreamPublisher) watch(changes chan nats.Status) {
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
	p.giveUp()
}

// disconnected sorts what a broken connection leaves: what was not sent is
// refused at once, what was may be stored.
func (p *JetStreamPublisher) disconnected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.waiting {
		p.settle(e, ErrDisconnected)
	}
	p.waiting, p.gathering, p.late = nil, false, nil
	p.worth.rests()
	first := len(p.unsure) == 0
	if b := p.batch; b != nil && p.land(b) {
		p.unsure = append(p.unsure, b.entries...)
	}
	for token, e := range p.alone {
		delete(p.alone, token)
		p.unsure = append(p.unsure, e)
	}
	if first && len(p.unsure) > 0 {
		time.AfterFunc(p.options.ReconnectGrace, p.giveUp)
	}
}

// giveUp refuses what still waits for the connection to come back.
func (p *JetStreamPublisher) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.unsure {
		p.settle(e, ErrDisconnected)
	}
	p.unsure = nil
}

// resend sends again what was on its way when the connection broke, under the
// same ids: the stream stores each once.
func (p *JetStreamPublisher) resend() {
	p.mu.Lock()
	list := p.again(p.unsure, false, nil)
	p.unsure = nil
	p.mu.Unlock()
	p.send(sending{alone: list})
	p.pump()
}
