package expect_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/spans"
	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/trace"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/expect"
)

// What the trace context of a service names.
const (
	servicesTrace = "0af7651916cd43dd8448eb211c80319c"
	servicesSpan  = "b7ad6b7169203331"
)

// traced has the worker record each trace, and returns what ends that and lists a trace's spans,
// "" for all.
func (r *rig) traced() (exported func(id string) []testbench.Exported) {
	r.T.Helper()
	c := testbench.StartCollector(r.T)
	tracer, err := spans.Open(spans.Options{Endpoint: c.URL, OneIn: 1, Service: "arauto-expect", Log: zap.NewNop(), Registerer: prometheus.NewRegistry()})
	r.Must(err)
	r.worker.Trace = tracer
	return func(id string) []testbench.Exported {
		r.Must(tracer.Close(r.Ctx))
		return c.Spans(id)
	}
}

// An expectation's look-up and outcome continue the trace of the service that announced it.
func TestSpansLeadFromTheExpectationToItsLookUpAndItsOutcome(t *testing.T) {
	t.Parallel()
	r := open(t, 600)
	exported := r.traced()
	r.says("p", state{status: "paid"})
	_, err := r.JS.PublishMsg(r.Ctx, &nats.Msg{
		Subject: r.Unit("p").Expected(), Data: []byte(`{"order":"o-p"}`),
		Header: nats.Header{trace.Header: {"00-" + servicesTrace + "-" + servicesSpan + "-00"}},
	})
	r.Must(err)
	r.Must(r.walk.Round(r.Ctx))
	scheduled := testbench.Documents[record.ScheduledLookUp](r.Bench, subject.LookupRetries, "lookup.*.sandbox.default.*")
	r.run()
	r.settled("p")
	event := r.Messages(subject.Orders, r.Unit("p").Events())[0].Header.Get(trace.Header)
	outcome := r.Messages(subject.Outcomes, r.Unit("p").Outcomes())[0].Header.Get(trace.Header)
	r.Until("the event is handled", func() bool {
		c, err := r.JS.Consumer(r.Ctx, subject.Orders, subject.ExpectConsumer)
		return err == nil && c.CachedInfo().AckFloor.Stream > 0
	})

	byID := map[string]testbench.Exported{}
	for _, s := range exported(servicesTrace) {
		byID[s.ID] = s
	}
	asked, said := byID[spanOf(t, scheduled[0].Trace)], byID[spanOf(t, outcome)]
	judgedFirst, judged := byID[asked.Parent], byID[said.Parent]
	for _, link := range []struct{ what, have, want string }{
		{"what asks", asked.Name, "send LOOKUP_RETRIES"},
		{"its parent", judgedFirst.Name + " " + judgedFirst.Parent, "process EXPECTATIONS " + servicesSpan},
		{"its outcome", judgedFirst.Attributes["arauto.outcome"], "waits"},
		{"what publishes", said.Name, "send OUTCOMES"},
		{"its parent", judged.Name + " " + judged.Parent, "process EXPECTATIONS " + servicesSpan},
		{"its outcome", judged.Attributes["arauto.outcome"], "met"},
		{"whose it is", judged.Attributes["arauto.provider"] + "/" + judged.Attributes["arauto.account"], "sandbox/default"},
		{"who judges", judged.Service + " " + judged.Attributes["messaging.consumer.group.name"], "arauto-expect expect"},
		{"the trace of the event", event, scheduled[0].Trace},
	} {
		if link.have != link.want {
			t.Errorf("%s is %q, want %q", link.what, link.have, link.want)
		}
	}
	handled := false
	for _, s := range byID {
		handled = handled || s.Name == "process ORDERS" && s.Parent == asked.ID && s.Attributes["messaging.consumer.group.name"] == "expect"
	}
	if !handled {
		t.Errorf("no span is about the event; there are %+v", byID)
	}
}

// spanOf is the id of the span that a trace context of the service names.
func spanOf(t *testing.T, within string) string {
	t.Helper()
	id, ours := strings.CutPrefix(within, "00-"+servicesTrace+"-")
	if id, recorded := strings.CutSuffix(id, "-01"); ours && recorded {
		return id
	}
	t.Fatalf("the trace context is %q", within)
	return ""
}

// What an announcer makes up is refused, and is in no span and in no header.
func TestWhatAnAnnouncerMakesUpIsInNoSpan(t *testing.T) {
	t.Parallel()
	const madeUp = "52998224725"
	r := open(t, 600)
	exported := r.traced()
	r.worker.Check = func(string, string, string) (kind order.Kind, err error) {
		return "", fmt.Errorf("it knows no %s", madeUp)
	}
	_, err := r.JS.PublishMsg(r.Ctx, &nats.Msg{
		Subject: "expect.bank." + madeUp + ".p", Data: []byte(`{"order":"` + madeUp + `"}`), Header: nats.Header{trace.Header: {madeUp}},
	})
	r.Must(err)
	r.Must(r.walk.Round(r.Ctx))
	refused := r.Messages(subject.Outcomes, subject.AllOutcomes)
	if len(refused) != 1 || !trace.Valid(refused[0].Header.Get(trace.Header)) {
		t.Fatalf("the outcomes are %+v", refused)
	}
	all := exported("")
	for _, s := range all {
		if strings.Contains(fmt.Sprint(s), madeUp) {
			t.Errorf("a span holds what was made up: %+v", s)
		}
	}
	if len(all) != 2 || all[0].Attributes["arauto.outcome"]+all[1].Attributes["arauto.outcome"] != "refused" {
		t.Errorf("there are the spans %+v", all)
	}
}

// A service without NATS gives its trace context in the request.
func TestRouteKeepsTheTraceContext(t *testing.T) {
	t.Parallel()
	r := open(t, 600)
	routes := expect.Routes{Token: func() string { return "token" }, Store: r.store, Check: func(string, string, string) error { return nil }, Log: zap.NewNop()}
	mux := http.NewServeMux()
	mux.Handle("PUT /expectations/{provider}/{account}/{payment}", routes.Put())
	const context = "00-" + servicesTrace + "-" + servicesSpan + "-01"
	for payment, c := range map[string]struct{ given, stored string }{"p": {context, context}, "q": {"made up", ""}, "r": {"", ""}} {
		q := httptest.NewRequestWithContext(r.Ctx, http.MethodPut, "/expectations/sandbox/default/"+payment, strings.NewReader(`{"order":"o"}`))
		q.Header.Set("Authorization", "Bearer token")
		q.Header.Set(trace.Header, c.given)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, q)
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", payment, w.Code, w.Body)
		}
		if got := r.Messages(subject.Expectations, r.Unit(payment).Expected())[0].Header.Get(trace.Header); got != c.stored {
			t.Errorf("%s is stored with %q, want %q", payment, got, c.stored)
		}
	}
}
