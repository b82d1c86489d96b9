package spans_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"arauto/deploy/runtime/spans"
	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "b7ad6b7169203331"
)

func open(t *testing.T, o spans.Options) (*spans.Tracer, *observer.ObservedLogs, *prometheus.Registry) {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	registry := prometheus.NewRegistry()
	o.Service, o.Log, o.Registerer = "arauto-test", zap.New(core), registry
	tracer, err := spans.Open(o)
	testbench.Must(t, err)
	return tracer, logs, registry
}

var webhook = spans.Webhook{Method: "POST", Route: "/v1/{provider}/notifications", Provider: "picpay", Account: "acme", Began: time.Now()}

// receive makes the spans of one webhook.
func receive(tracer *spans.Tracer, caller string) (stored string) {
	ctx, server, of := tracer.Receive(context.Background(), caller, webhook)
	_, send, stored := spans.Send(ctx, "NOTIFICATIONS", of)
	send.End(nil)
	server.Answered(http.StatusOK)
	server.End(nil)
	return stored
}

func TestSpansAreExportedWithTheConventionsNames(t *testing.T) {
	t.Parallel()
	c := testbench.StartCollector(t)
	tracer, _, registry := open(t, spans.Options{Endpoint: c.URL, OneIn: 1, Headers: map[string]string{"authorization": "Bearer secret"}})
	stored := receive(tracer, "00-"+callersTrace+"-"+callersSpan+"-00")
	ctx, process := tracer.Process(context.Background(), stored, "NOTIFICATIONS", "lookup-picpay")
	process.Outcome("observed")
	at, err := url.Parse("https://api.example:8443/payments/12345?token=secret")
	testbench.Must(t, err)
	_, request := spans.Request(ctx, http.MethodGet, at)
	request.FailedWith(http.StatusNotFound)
	request.End(nil)
	process.End(errors.New("52998224725 is personal"))
	testbench.Must(t, tracer.Close(context.Background()))

	all := map[string]testbench.Exported{}
	for _, s := range c.Spans(callersTrace) {
		all[s.Name] = s
		for name, value := range s.Attributes {
			if strings.Contains(value, "12345") || strings.Contains(value, "secret") || strings.Contains(value, "52998224725") {
				t.Errorf("%s of %s holds %q", name, s.Name, value)
			}
		}
	}
	server, send, handled, asked := all["POST /v1/{provider}/notifications"], all["send NOTIFICATIONS"], all["process NOTIFICATIONS"], all["GET"]
	for _, link := range []struct{ what, have, want string }{
		{"server", server.Parent, callersSpan}, {"send", send.Parent, server.ID}, {"process", handled.Parent, send.ID}, {"request", asked.Parent, handled.ID},
		{"stored context", stored, "00-" + callersTrace + "-" + send.ID + "-01"},
		{"kinds", server.Kind + send.Kind + handled.Kind + asked.Kind, "SPAN_KIND_SERVERSPAN_KIND_PRODUCERSPAN_KIND_CONSUMERSPAN_KIND_CLIENT"},
		{"service", server.Service, "arauto-test"},
		{"route", server.Attributes["http.route"] + server.Attributes["http.request.method"] + server.Attributes["http.response.status_code"], "/v1/{provider}/notificationsPOST200"},
		{"messaging", send.Attributes["messaging.system"] + send.Attributes["messaging.destination.name"] + send.Attributes["messaging.operation.type"], "natsNOTIFICATIONSsend"},
		{"consumer", handled.Attributes["messaging.consumer.group.name"] + handled.Attributes["messaging.operation.type"] + handled.Attributes["arauto.outcome"], "lookup-picpayprocessobserved"},
		{"host", asked.Attributes["server.address"] + asked.Attributes["server.port"] + asked.Attributes["error.type"], "api.example8443404"},
	} {
		if link.have != link.want {
			t.Errorf("%s is %q, want %q", link.what, link.have, link.want)
		}
	}
	if server.Failed || send.Failed || !handled.Failed || !asked.Failed {
		t.Errorf("failed: %v %v %v %v", server.Failed, send.Failed, handled.Failed, asked.Failed)
	}
	if _, header := c.Requests(); header.Get("Authorization") != "Bearer secret" {
		t.Errorf("the collector got the header %q", header.Get("Authorization"))
	}
	if got := testbench.Value(t, registry, "arauto_trace_spans_total", "exported"); got != 4 {
		t.Errorf("%v spans are counted", got)
	}
}

// TestCallerHasNoSayInWhatIsRecorded sends webhooks whose callers demand to be recorded, by
// the flag and by the trace id for which a sampler by ids would record it.
func TestCallerHasNoSayInWhatIsRecorded(t *testing.T) {
	t.Parallel()
	c := testbench.StartCollector(t)
	tracer, _, _ := open(t, spans.Options{Endpoint: c.URL, OneIn: 1_000_000_000})
	const lowest = "00000000000000010000000000000001"
	for range 100 {
		for _, id := range []string{callersTrace, lowest} {
			if got, want := receive(tracer, "00-"+id+"-"+callersSpan+"-01"), "00-"+id+"-"+callersSpan+"-00"; got != want {
				t.Fatalf("it is stored with %q, want %q", got, want)
			}
		}
	}
	if own := receive(tracer, ""); !trace.Valid(own) || !strings.HasSuffix(own, "-00") {
		t.Errorf("without a caller's context it is stored with %q", own)
	}
	if ctx, s := tracer.Process(context.Background(), "00-"+lowest+"-"+callersSpan+"-00", "NOTIFICATIONS", "lookup"); s != nil || spans.Of(ctx) != nil {
		t.Error("a message that is not recorded begins a span")
	}
	testbench.Must(t, tracer.Close(context.Background()))
	if all := c.Spans(""); len(all) != 0 {
		t.Errorf("%d spans were recorded", len(all))
	}
}

func TestOnlyARecordedTraceIsAnExemplar(t *testing.T) {
	t.Parallel()
	c := testbench.StartCollector(t)
	histogram := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "seconds", Buckets: []float64{1}})
	exemplars := func(oneIn int) (found []string) {
		tracer, _, _ := open(t, spans.Options{Endpoint: c.URL, OneIn: oneIn})
		_, server, _ := tracer.Receive(context.Background(), "00-"+callersTrace+"-"+callersSpan+"-01", webhook)
		server.Observe(histogram, 0.5)
		server.End(nil)
		testbench.Must(t, tracer.Close(context.Background()))
		var m dto.Metric
		testbench.Must(t, histogram.Write(&m))
		for _, b := range m.GetHistogram().GetBucket() {
			for _, l := range b.GetExemplar().GetLabel() {
				found = append(found, l.GetName()+"="+l.GetValue())
			}
		}
		return found
	}
	if found := exemplars(1_000_000_000); len(found) != 0 {
		t.Errorf("a trace that is not recorded is the exemplar %v", found)
	}
	if found := exemplars(1); !slices.Equal(found, []string{"trace_id=" + callersTrace}) {
		t.Errorf("a recorded trace gives the exemplars %v", found)
	}
}

func TestOneTraceInSoManyIsRecorded(t *testing.T) {
	t.Parallel()
	c := testbench.StartCollector(t)
	tracer, _, _ := open(t, spans.Options{Endpoint: c.URL, OneIn: 4})
	received, begun := 0, 0
	for range 1000 {
		if strings.HasSuffix(receive(tracer, ""), "-01") {
			received++
		}
		began := trace.New()
		if decided := tracer.Sample(began); decided != tracer.Sample(decided) {
			t.Fatalf("it is decided twice for %q", began)
		} else if strings.HasSuffix(decided, "-01") {
			begun++
		}
	}
	testbench.Must(t, tracer.Close(context.Background()))
	for what, n := range map[string]int{"webhooks": received, "other traces": begun} {
		if n < 150 || n > 350 { // 7 standard deviations.
			t.Errorf("of 1000 %s %d are recorded, want a quarter", what, n)
		}
	}
}

func TestMessageOfAnotherTraceIsNotSentWithinTheSpan(t *testing.T) {
	t.Parallel()
	c := testbench.StartCollector(t)
	tracer, _, _ := open(t, spans.Options{Endpoint: c.URL, OneIn: 1})
	ctx, server, _ := tracer.Receive(context.Background(), "", webhook)
	older := "00-" + callersTrace + "-" + callersSpan + "-01"
	if _, send, got := spans.Send(ctx, "STATUSES", older); send != nil || got != older {
		t.Errorf("it is sent with %q", got)
	}
	server.End(nil)
	testbench.Must(t, tracer.Close(context.Background()))
}

// TestCollectorThatIsAwayDelaysNothing has a collector that refuses, never answers, or
// answers with an error.
func TestCollectorThatIsAwayDelaysNothing(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(t, err)
	defer silent.Close() //nolint:errcheck // The test is over.
	broken := httptest.NewServer(http.NotFoundHandler())
	defer broken.Close()
	for name, endpoint := range map[string]string{
		"refuses": "http://127.0.0.1:1/v1/traces", "is silent": "http://" + silent.Addr().String() + "/v1/traces", "fails": broken.URL + "/v1/traces",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracer, logs, registry := open(t, spans.Options{Endpoint: endpoint, OneIn: 1})
			for range 3000 { // Twice as many spans, more than the queue holds: none of these waits for room.
				receive(tracer, "")
			}
			if err := tracer.Close(context.Background()); err != nil {
				t.Errorf("it does not close: %v", err)
			}
			if testbench.Value(t, registry, "arauto_trace_spans_total", "exported") != 0 {
				t.Error("spans are counted as exported")
			}
			if logs.Len() == 0 || logs.FilterMessage("spans.export_failed").Len() > 1 {
				t.Errorf("it logs %v", logs.All())
			}
		})
	}
}

func TestNilTracerCostsNothing(t *testing.T) { //nolint:paralleltest // AllocsPerRun counts what other tests allocate too.
	var tracer *spans.Tracer
	caller := "00-" + callersTrace + "-" + callersSpan + "-01"
	histogram := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x"})
	background, at := context.Background(), &url.URL{Scheme: "https", Host: "api.example"}
	if n := testing.AllocsPerRun(1000, func() {
		ctx, s, of := tracer.Receive(background, caller, webhook)
		_, send, stored := spans.Send(ctx, "NOTIFICATIONS", of)
		_, p := tracer.Process(ctx, stored, "NOTIFICATIONS", "lookup-picpay")
		_, r := spans.Request(ctx, http.MethodGet, at)
		for _, one := range []*spans.Span{s, send, p, r} {
			one.Account("picpay", "acme")
			one.Observe(histogram, 1)
			one.End(nil)
		}
		if stored != caller || tracer.Sample(caller) != caller {
			t.Error("the context was changed")
		}
	}); n != 0 {
		t.Errorf("it allocates %v times", n)
	}
}
