package conformance_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"arauto/deploy/runtime/process"
	"arauto/schemas/expectation"
	"arauto/schemas/subject"
	"arauto/workers/expect"
)

// expect has the announcer announce a payment that is paid, a payment that stays unpaid, and a
// body that does not decode, and has the role judge each.
func (f *flow) expect(b *broker) {
	f.T.Helper()
	_, all := b.as(inspector)
	_, js := b.as("expect")
	bench := f.bench(js)
	worker, walk, routes := bench.Expect(1, "token-of-the-test")
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(process.NewConsumerCollector(js, []process.ConsumerName{{Stream: subject.Orders, Consumer: subject.ExpectConsumer}}))
	_, err := metrics.Gather()
	f.Must(err)
	bench.Consume(subject.Orders, subject.ExpectConsumer, 2, worker.Handle)
	ctx, stop := context.WithCancel(f.Ctx)
	walked := make(chan error, 1)
	go func() { walked <- walk.Run(ctx) }()
	defer func() { // What is expected later stays for forget.
		stop()
		f.Must(<-walked)
	}()

	announcer, _ := b.as("announcer")
	deadline := time.Now().Add(time.Hour)
	for payment, body := range map[string]any{
		"p-1": expectation.Expectation{Order: "o-1", Deadline: &deadline}, "unreadable": "no object",
		"unknown": expectation.Expectation{Order: "o-2", Deadline: &deadline},
	} {
		data, err := json.Marshal(body)
		f.Must(err)
		ack, err := announcer.RequestWithContext(f.Ctx, f.Tokens.Unit("sandbox", "default", payment).Expected(), data)
		f.Must(err)
		if !strings.Contains(string(ack.Data), `"EXPECTATIONS"`) {
			f.T.Errorf("the announcer got the answer %s", ack.Data)
		}
	}
	f.outcome(all, "p-1", expectation.Met)
	f.outcome(all, "unreadable", expectation.Refused)
	f.Until("the look-up of the unknown payment waits", func() bool {
		s, err := all.Stream(f.Ctx, subject.LookupRetries)
		f.Must(err)
		waits, err := s.GetLastMsgForSubject(f.Ctx, f.Tokens.Waiting("sandbox", "default", "unknown").Parked())
		return err == nil && strings.Contains(string(waits.Data), "not_found")
	})
	f.withdraw(routes)
	f.outcome(all, "unknown", expectation.Withdrawn)
	f.Until("the acknowledgements have gone out", func() bool { return bench.AckFloor(subject.Orders, subject.ExpectConsumer) > 3 })
}

// outcome waits until an outcome of a payment is stored.
func (f *flow) outcome(all jetstream.JetStream, payment string, word expectation.Word) {
	f.T.Helper()
	on := f.Tokens.Unit("sandbox", "default", payment).Outcome(string(word))
	f.Until("the outcome on "+on, func() bool {
		s, err := all.Stream(f.Ctx, subject.Outcomes)
		f.Must(err)
		_, err = s.GetLastMsgForSubject(f.Ctx, on)
		return err == nil
	})
}

// withdraw uses the HTTP routes, whose answers must be those of the OpenAPI document.
func (f *flow) withdraw(routes expect.Routes) {
	f.T.Helper()
	routes.Check = func(_, account, _ string) error {
		if account != "default" {
			return errors.New("there is no such account")
		}
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("PUT /expectations/{provider}/{account}/{payment}", routes.Put())
	mux.Handle("DELETE /expectations/{provider}/{account}/{payment}", routes.Delete())
	contract, err := documentedHTTP()
	f.Must(err)
	const token, body = "token-of-the-test", `{"order": "o-2", "amount": {"currency": "BRL", "value": 100}}`
	for _, c := range []struct {
		method, account, token, body string
		status                       int
		says                         string
	}{
		{http.MethodPut, "default", "other", body, http.StatusUnauthorized, "error"},
		{http.MethodPut, "default", token, `{}`, http.StatusBadRequest, "order"},
		{http.MethodPut, "none", token, body, http.StatusUnprocessableEntity, "no such account"},
		{http.MethodPut, "default", token, body, http.StatusOK, "replaced"},
		{http.MethodDelete, "default", token, "", http.StatusOK, "withdrawn"},
	} {
		q := httptest.NewRequestWithContext(f.Ctx, c.method, "/expectations/sandbox/"+c.account+"/unknown", strings.NewReader(c.body))
		q.Header.Set("Authorization", "Bearer "+c.token)
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, q)
		if answer.Code != c.status || !strings.Contains(answer.Body.String(), c.says) {
			f.T.Errorf("%s got %d %s, want %d with %q", c.method, answer.Code, answer.Body, c.status, c.says)
		}
		if ok, problems := contract.ValidateHttpResponse(q, answer.Result()); !ok {
			for _, problem := range problems {
				f.T.Errorf("%s, answered with %d: %s: %s", c.method, c.status, problem.Message, problem.Reason)
			}
		}
	}
}
