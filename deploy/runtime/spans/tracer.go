// Package spans records what a webhook leads to as spans of OpenTelemetry, and exports them
// by OTLP over HTTP. Attributes are names of the configuration, of streams and of hosts: no
// span holds an id of a payment or an order, a subject, a URL or a body.
package spans

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	otel "go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"arauto/deploy/runtime/trace"
)

// Options say what a process records, and where it sends that.
type Options struct {
	Endpoint   string            // URL that takes OTLP over HTTP, with its path.
	Headers    map[string]string // Of each request to the endpoint; they may hold a credential.
	OneIn      int               // One webhook in so many is recorded; 1 or less: each.
	Service    string            // service.name of the process.
	Version    string            // service.version.
	Namespace  string            // service.namespace; "" for none.
	Log        *zap.Logger
	Registerer prometheus.Registerer
}

// scope is the name of what records the spans.
const scope = "arauto"

// Guesses: a second of spans at full load, and how soon a span is seen.
const (
	queueLimit  = 4096
	batchLimit  = 512
	exportEvery = time.Second
)

// flushTimeout is how long Close waits for the collector. It is below the time that a
// process gives a clean-up.
const flushTimeout = 2 * time.Second

// Tracer begins spans and exports them in the background. Spans that find the queue full
// are dropped: no webhook waits for a collector. The nil Tracer records nothing.
type Tracer struct {
	provider *sdk.TracerProvider
	spans    otel.Tracer
	export   *export
	oneIn    int
	log      *zap.Logger
}

// Open returns a Tracer. It does not connect, so it does not fail while the collector is
// away. Close must be called.
func Open(o Options) (*Tracer, error) {
	e, err := newExport(o)
	if err != nil {
		return nil, err
	}
	exporter, err := otlptrace.New(context.Background(), e)
	if err != nil {
		return nil, fmt.Errorf("make exporter of spans: %w", err)
	}
	about := []attribute.KeyValue{semconv.ServiceName(o.Service), semconv.ServiceVersion(o.Version)}
	if o.Namespace != "" {
		about = append(about, semconv.ServiceNamespace(o.Namespace))
	}
	provider := sdk.NewTracerProvider(
		// Which traces are recorded is decided before a span is begun: see Receive.
		sdk.WithSampler(sdk.ParentBased(sdk.AlwaysSample())),
		sdk.WithResource(resource.NewWithAttributes(semconv.SchemaURL, about...)),
		sdk.WithBatcher(exporter, sdk.WithMaxQueueSize(queueLimit), sdk.WithMaxExportBatchSize(batchLimit),
			sdk.WithBatchTimeout(exportEvery), sdk.WithExportTimeout(exportTimeout)),
	)
	return &Tracer{provider: provider, spans: provider.Tracer(scope), export: e, oneIn: max(o.OneIn, 1), log: o.Log}, nil
}

// Close exports what is queued, for two seconds at the most, and ends the Tracer. A
// collector that is away is no error of the process: what is lost is logged.
func (t *Tracer) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	err := t.provider.Shutdown(ctx)
	t.export.end()
	if err != nil && !errors.Is(err, context.Canceled) {
		t.log.Warn("spans.lost", zap.Error(err))
	}
	return nil
}

// Receive decides whether a webhook is recorded, and begins its span if so. caller is the
// trace context that the webhook came with, "" for none. Its trace id is kept, so that the
// caller finds the trace, but neither its id nor its sampled flag has a say in the decision:
// providers, and who has their credentials, could have each webhook recorded else. The
// returned trace context is that of the span; without a span it says not sampled.
func (t *Tracer) Receive(ctx context.Context, caller string, w Webhook) (context.Context, *Span, string) {
	if t == nil {
		if caller == "" {
			caller = trace.New()
		}
		return ctx, nil, caller
	}
	if rand.N(t.oneIn) > 0 {
		if caller == "" {
			caller = trace.New()
		}
		return ctx, nil, flagged(caller, notRecorded)
	}
	if caller != "" {
		ctx = within(ctx, flagged(caller, recorded))
	}
	ctx, s := begin(ctx, t.spans, w.Method+" "+w.Route, otel.SpanKindServer, w.attributes(), otel.WithTimestamp(w.Began))
	return ctx, s, s.traceparent()
}

// Sample decides whether a trace is recorded that no webhook began, and returns its trace
// context with that decision. Such a trace id is random, and what is decided for it is
// decided so each time.
func (t *Tracer) Sample(context string) string {
	if t == nil || !trace.Valid(context) {
		return context
	}
	if sampled(context, t.oneIn) {
		return flagged(context, recorded)
	}
	return flagged(context, notRecorded)
}

// Process begins the span of a stream's message that a consumer handles. It continues the
// trace of the message, whose decision it keeps: a message leads to one piece of work, and
// one trace shows a webhook from its receipt to its event.
func (t *Tracer) Process(ctx context.Context, message, stream, consumer string) (context.Context, *Span) {
	if t == nil || !trace.Valid(message) || !isSampled(message) {
		return ctx, nil
	}
	return begin(within(ctx, message), t.spans, "process "+stream, otel.SpanKindConsumer,
		append(messaging(stream, semconv.MessagingOperationTypeProcess, "process"), semconv.MessagingConsumerGroupName(consumer)))
}
