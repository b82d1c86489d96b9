package webhook

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/spans"
	"arauto/gateway/publish"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// usualNotification is more bytes than most notifications have as JSON (measured).
const usualNotification = 768

// storeAll stores a notification for each notice, one after the other, so that those of
// one payment keep their order. It ends at the first that is not stored: those before it
// stay stored, and the provider's redelivery stores them again under other ids.
func (g *Gateway) storeAll(d *delivery, notices []provider.Notice, h provider.Header) code {
	ctx, span, trace := g.options.Spans.Receive(context.Background(), traceparent(h), d.webhook())
	d.span = span
	for _, n := range notices {
		if c := g.store(ctx, d, n, h, trace); c != accepted {
			return c
		}
	}
	return accepted
}

// store has the notification stored, also if the client closes its connection meanwhile:
// a webhook that was read is worth storing.
func (g *Gateway) store(ctx context.Context, d *delivery, n provider.Notice, h provider.Header, trace string) code {
	id, err := uuid.NewV7()
	if err != nil {
		d.failure = fmt.Errorf("make notification id: %w", err)
		return unavailable
	}
	unit := g.options.Tokens.Unit(d.provider, d.account, n.Payment)
	d.id, d.payment = id.String(), unit.Payment
	ctx, span, trace := spans.Send(ctx, subject.Notifications, trace)
	body := record.Notification{
		ID: d.id, Provider: d.provider, Account: d.account,
		Kind: n.Kind, Payment: n.Payment, Order: n.Order, ReceivedAt: d.started.UTC(),
		Unknown: n.Unknown, Trace: trace, Headers: storedHeaders(h), Fields: n.Fields,
	}.AppendTo(make([]byte, 0, usualNotification))
	if !d.endpoint.limits[d.account].allowBytes(d.started, len(body)) {
		span.End(errLimited)
		return g.limited(d)
	}
	err = g.options.Publisher.Store(ctx, publish.Message{ID: d.id, Subject: unit.Notification(), Body: body})
	span.End(err)
	switch {
	case errors.Is(err, commit.ErrTooLarge):
		return bodyTooLarge // Not 503: a retry would fail as well.
	case err != nil:
		return g.failed(d, err)
	}
	return accepted
}

// failed records and counts why a notification was not stored.
func (g *Gateway) failed(d *delivery, err error) code {
	err = g.explain(err)
	d.failure = err
	g.metrics.failures.WithLabelValues(failureClass(err)).Inc()
	return unavailable
}

// explain wraps an error in ErrStoreFailed if the broker has a write error. Such a broker
// acks nothing, so webhooks time out and later ones are shed. StoreFailure makes the
// durability check run.
func (g *Gateway) explain(err error) error {
	if !errors.Is(err, commit.ErrTimeout) && !errors.Is(err, commit.ErrOverloaded) && !errors.Is(err, commit.ErrStoreFailed) {
		return err
	}
	if why := g.options.StoreFailure(); why != nil {
		return fmt.Errorf("%w: %w: %w", commit.ErrStoreFailed, why, err)
	}
	return err
}

// failureClass is the label of arauto_publish_failures_total: a class of publish, or
// "limited".
func failureClass(err error) string {
	if errors.Is(err, errLimited) {
		return classLimited
	}
	return publish.Class(err)
}

func failureClasses() []string { return append(publish.Classes(), classLimited) }
