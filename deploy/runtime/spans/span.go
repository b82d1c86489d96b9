package spans

import (
	"context"
	"encoding/hex"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	otel "go.opentelemetry.io/otel/trace"
)

// Span is one operation of a trace that is recorded. The nil Span is that of a trace that
// is not, and each of its methods does nothing.
type Span struct{ otel.Span }

// Webhook is what a span says of a received webhook.
type Webhook struct {
	Method   string
	Route    string    // The path with names in place of its segments.
	Provider string    // As configured.
	Account  string    // As configured.
	Began    time.Time // When the request began.
}

func (w Webhook) attributes() []attribute.KeyValue {
	return []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(w.Method), semconv.HTTPRoute(w.Route),
		providerKey.String(w.Provider), accountKey.String(w.Account),
	}
}

const (
	providerKey = attribute.Key("arauto.provider")
	accountKey  = attribute.Key("arauto.account")
	outcomeKey  = attribute.Key("arauto.outcome")
)

// messaging are the attributes of an operation on a stream. The destination is the stream,
// because a subject holds the id of a payment.
func messaging(stream string, kind attribute.KeyValue, name string) []attribute.KeyValue {
	return []attribute.KeyValue{
		semconv.MessagingSystemKey.String("nats"), semconv.MessagingDestinationName(stream), kind, semconv.MessagingOperationName(name),
	}
}

func begin(ctx context.Context, t otel.Tracer, name string, kind otel.SpanKind, about []attribute.KeyValue, more ...otel.SpanStartOption) (context.Context, *Span) {
	ctx, s := t.Start(ctx, name, append(more, otel.WithSpanKind(kind), otel.WithAttributes(about...))...)
	return ctx, &Span{s}
}

// Of returns the span of ctx, nil for none.
func Of(ctx context.Context) *Span {
	if s := otel.SpanFromContext(ctx); s.IsRecording() {
		return &Span{s}
	}
	return nil
}

// child begins a span below that of ctx. Without one it begins none.
func child(ctx context.Context, name string, kind otel.SpanKind, about func() []attribute.KeyValue) (context.Context, *Span) {
	of := otel.SpanFromContext(ctx)
	if !of.IsRecording() {
		return ctx, nil
	}
	return begin(ctx, of.TracerProvider().Tracer(scope), name, kind, about())
}

// Send begins the span of a message that is stored on a stream. within is the trace context
// that the message has without it; if the span of ctx is of another trace, as when an older
// message is handled with the delivered message, none is begun. The message must carry
// the returned trace context, and End follows once the broker has confirmed it.
func Send(ctx context.Context, stream, within string) (context.Context, *Span, string) {
	of := otel.SpanContextFromContext(ctx)
	if !of.IsSampled() || traceID(within) != of.TraceID() {
		return ctx, nil, within
	}
	ctx, s := child(ctx, "send "+stream, otel.SpanKindProducer, func() []attribute.KeyValue {
		return messaging(stream, semconv.MessagingOperationTypeSend, "send")
	})
	if s == nil {
		return ctx, nil, within
	}
	return ctx, s, s.traceparent()
}

// Request begins the span of a request to a host outside. Of the URL it has the host and
// port alone, because a credential may be in the rest.
func Request(ctx context.Context, method string, to *url.URL) (context.Context, *Span) {
	return child(ctx, method, otel.SpanKindClient, func() []attribute.KeyValue {
		port, err := strconv.Atoi(to.Port())
		if err != nil {
			port = map[string]int{"http": 80, "https": 443}[to.Scheme]
		}
		return []attribute.KeyValue{semconv.HTTPRequestMethodKey.String(method), semconv.ServerAddress(to.Hostname()), semconv.ServerPort(port)}
	})
}

// Account says whose payment the span is about, in names of the configuration.
func (s *Span) Account(provider, account string) {
	if s != nil {
		s.SetAttributes(providerKey.String(provider), accountKey.String(account))
	}
}

// Outcome is a word for what the span led to.
func (s *Span) Outcome(word string) {
	if s != nil {
		s.SetAttributes(outcomeKey.String(word))
	}
}

// Answered is the status of an HTTP response.
func (s *Span) Answered(status int) {
	if s != nil {
		s.SetAttributes(semconv.HTTPResponseStatusCode(status))
	}
}

// FailedWith is the status of an HTTP response by which the span has failed.
func (s *Span) FailedWith(status int) {
	s.Answered(status)
	s.Fail(strconv.Itoa(status))
}

// Fail says that the span has failed, with a word for the kind of the error and nothing of
// its text.
func (s *Span) Fail(kind string) {
	if s != nil {
		s.SetAttributes(semconv.ErrorTypeKey.String(kind))
		s.SetStatus(codes.Error, "")
	}
}

// End ends the span, as failed if err is not nil.
func (s *Span) End(err error) {
	if s == nil {
		return
	}
	if err != nil {
		s.Fail(semconv.ErrorTypeOther.Value.AsString())
	}
	s.Span.End()
}

// Observe adds a value to a histogram, with the span's trace id as exemplar.
func (s *Span) Observe(histogram prometheus.Observer, value float64) {
	if with, ok := histogram.(prometheus.ExemplarObserver); ok && s != nil {
		with.ObserveWithExemplar(value, prometheus.Labels{"trace_id": s.SpanContext().TraceID().String()})
		return
	}
	histogram.Observe(value)
}

// traceparent is the span's W3C trace context.
func (s *Span) traceparent() string {
	of := s.SpanContext()
	id, span := of.TraceID(), of.SpanID()
	text := make([]byte, 0, 55)
	text = hex.AppendEncode(append(text, "00-"...), id[:])
	text = hex.AppendEncode(append(text, '-'), span[:])
	return string(append(text, "-01"...))
}
