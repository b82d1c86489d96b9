package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
	"arauto/schemas/subscriber"
)

// What a caller's own trace context names.
const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "b7ad6b7169203331"
)

// deliverTraced is deliver within the trace of a caller that does not ask for its recording.
// It returns the trace context of the event.
func (p *plant) deliverTraced(payment string) string {
	p.t.Helper()
	p.poll("the simulator to take "+payment, func() bool {
		return p.request(http.MethodPut, "http://"+p.sim.Addr().String()+"/_sim/sandbox/default/payments/"+payment, `{"status":"paid"}`)
	})
	p.poll("the gateway to accept "+payment, func() bool {
		ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.gateway.Addr().String()+"/v1/sandbox/notifications",
			strings.NewReader(fmt.Sprintf(`{"payment":%q}`, payment)))
		testbench.Must(p.t, err)
		request.Header.Set("Authorization", "sandbox-local-token")
		request.Header.Set("traceparent", "00-"+callersTrace+"-"+callersSpan+"-00")
		request.Close = true
		response, err := (&http.Client{}).Do(request) // The request closes its connection, so nothing is left open.
		if err != nil {
			return false
		}
		return response.Body.Close() == nil && response.StatusCode == http.StatusOK
	})
	_, js := testbench.Connect(p.t, "nats://"+p.broker, nats.UserInfo("test", "test"))
	of, found := "", false
	p.poll("the event of "+payment, func() bool {
		orders, err := js.Stream(p.ctx, subject.Orders)
		if err != nil {
			return false
		}
		raw, err := orders.GetLastMsgForSubject(p.ctx, "orders.sandbox.default."+payment+".>")
		if found = err == nil; found {
			of = raw.Header.Get("traceparent")
		}
		return found
	})
	return of
}

// checkTrace follows the trace context of an event through the exported spans to the caller.
func (p *plant) checkTrace(event string) {
	p.t.Helper()
	all := p.collector.Spans(callersTrace)
	var way []testbench.Exported
	for id := strings.Split(event, "-")[2]; id != callersSpan; id = way[len(way)-1].Parent {
		i := slices.IndexFunc(all, func(s testbench.Exported) bool { return s.ID == id })
		if i < 0 {
			p.t.Fatalf("no span has the id %q that the event %q or a span names as its parent; there are %+v", id, event, all)
		}
		way = append(way, all[i])
	}
	var got []string
	for _, s := range slices.Backward(way) {
		// The worker of the notification may have scheduled the look-up, such as for a limit of a
		// lookup that has just begun.
		got = append(got, s.Service+": "+strings.Replace(s.Name, "process LOOKUP_RETRIES", "process NOTIFICATIONS", 1))
	}
	want := []string{
		"arauto-gateway: POST /v1/{provider}/notifications", "arauto-gateway: send NOTIFICATIONS",
		"arauto-lookup: process NOTIFICATIONS", "arauto-lookup: send STATUSES",
		"arauto-normalize: process STATUSES", "arauto-normalize: send ORDERS",
	}
	if !slices.Equal(got, want) {
		p.t.Fatalf("from the caller to the event there are the spans %q, want %q", got, want)
	}
	lookUp := way[3]
	asked := slices.IndexFunc(all, func(s testbench.Exported) bool { return s.Name == "GET" && s.Parent == lookUp.ID })
	host, _, _ := strings.Cut(p.sim.Addr().String(), ":")
	if asked < 0 || all[asked].Attributes["server.address"] != host || all[asked].Attributes["http.response.status_code"] != "200" {
		t := "no span"
		if asked >= 0 {
			t = fmt.Sprintf("%+v", all[asked])
		}
		p.t.Errorf("the call of the provider has %s", t)
	}
	of := way[0].ID
	if !slices.ContainsFunc(all, func(s testbench.Exported) bool {
		return s.Service == "arauto-expect" && s.Name == "process ORDERS" && s.Parent == of
	}) {
		p.t.Errorf("no span of expect is about the event %s", of)
	}
	if outcome := lookUp.Attributes["arauto.outcome"]; outcome != "observed" {
		p.t.Errorf("the look-up's outcome is %q", outcome)
	}
}

// checkSubscriber has a service with OpenTelemetry of its own handle the event of deliverTraced,
// as deploy/SUBSCRIBING.md says. Its span must be recorded, and be a child of the span that
// published the event.
func (p *plant) checkSubscriber(payment string) {
	p.t.Helper()
	_, js := testbench.Connect(p.t, "nats://"+p.broker, nats.UserInfo("test", "test"))
	_, err := js.CreateConsumer(p.ctx, subject.Orders, jetstream.ConsumerConfig{
		Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1, FilterSubject: "orders.sandbox.default." + payment + ".>",
	})
	testbench.Must(p.t, err)
	recorder := tracetest.NewSpanRecorder()
	tracer := trace.NewTracerProvider(trace.WithSpanProcessor(recorder)).Tracer("billing")
	running, stop := context.WithCancel(p.ctx)
	defer stop()
	err = subscriber.Run(running, js, subscriber.Options{Consumer: "billing"}, func(ctx context.Context, e subscriber.Event) error {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": e.Trace})
		_, span := tracer.Start(ctx, "book "+string(e.Status))
		span.End()
		stop()
		return nil
	})
	testbench.Must(p.t, err)
	var published string
	for _, s := range p.collector.Spans(callersTrace) {
		if s.Name == "send ORDERS" {
			published = s.ID
		}
	}
	for _, s := range recorder.Ended() {
		got := []string{s.Name(), s.SpanContext().TraceID().String(), s.Parent().SpanID().String()}
		if want := []string{"book paid", callersTrace, published}; !slices.Equal(got, want) || !s.SpanContext().IsSampled() {
			p.t.Errorf("the service's span has the name, trace and parent %q, recorded: %t; want %q", got, s.SpanContext().IsSampled(), want)
		}
	}
	if n := len(recorder.Ended()); n != 1 {
		p.t.Errorf("the service has %d spans of the event", n)
	}
}
