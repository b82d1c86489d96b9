package webhook

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/topology/jetstreamtest"
)

func TestConfirmationsAreReadStrictly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		data   string
		header nats.Header
		batch  int
		want   error // Nil for success, errAny for one of no class.
	}{
		"stored":                  {data: `{"stream":"NOTIFICATIONS","seq":7}`},
		"stored before":           {data: `{"stream":"NOTIFICATIONS","seq":7,"duplicate":true}`},
		"batch stored":            {data: `{"stream":"NOTIFICATIONS","seq":7,"batch":"b","count":3}`, batch: 3},
		"batch of another size":   {data: `{"stream":"NOTIFICATIONS","seq":7,"batch":"b","count":2}`, batch: 3, want: errNoBatches},
		"broker without batches":  {data: `{"stream":"NOTIFICATIONS","seq":7}`, batch: 3, want: errNoBatches},
		"nobody there":            {header: nats.Header{"Status": {"503"}}, want: ErrMissing},
		"another stream":          {data: `{"stream":"IMPOSTOR","seq":7}`, want: ErrMissing},
		"no sequence":             {data: `{"stream":"NOTIFICATIONS"}`, want: ErrMissing},
		"full":                    {data: `{"error":{"code":400,"err_code":10077,"description":"maximum bytes exceeded"}}`, want: ErrFull},
		"in process":              {data: `{"error":{"code":409,"err_code":10158,"description":"duplicate message id is in process"}}`, want: errStillStoring},
		"full of batches":         {data: `{"error":{"code":429,"err_code":10210,"description":"too many inflight"}}`, batch: 3, want: errAny},
		"staged, but no more":     {want: errAny},
		"not JSON":                {data: `+OK`, want: errAny},
		"store without any words": {data: `{"error":{"code":503,"err_code":10077}}`, want: errAny},
	} {
		err := readAck(&nats.Msg{Data: []byte(c.data), Header: c.header}, c.batch)
		switch {
		case c.want == nil && err != nil, c.want != nil && err == nil:
			t.Errorf("%s: %v", name, err)
		case c.want != nil && !errors.Is(c.want, errAny) && !errors.Is(err, c.want):
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// errAny stands for an error of no class.
var errAny = errors.New("any")

func TestLateAnswerOfABatchSettlesOrClearsItsMessages(t *testing.T) {
	t.Parallel()
	e := &entry{result: make(chan error, 1), token: 7, doubted: true}
	p := &Committer{alone: map[uint64]*entry{7: e}, held: 1}
	late := &batch{entries: []*entry{e}}
	p.resolve(late, errAny)
	if e.doubted || e.settled || len(p.alone) != 1 {
		t.Errorf("a refusal leaves %+v, %d alone", e, len(p.alone))
	}
	p.resolve(late, nil)
	if err := <-e.result; err != nil || len(p.alone) != 0 || p.held != 0 {
		t.Errorf("a confirmation gives %v, %d alone, %d held", err, len(p.alone), p.held)
	}
}

// A replicated stream refuses a message for as long as it works on another
// flight of it. The broker here has never heard of it, and takes the next one.
func TestMessageInProcessIsSentAgain(t *testing.T) {
	t.Parallel()
	broker := jetstreamtest.Start(t)
	p, err := NewPublisher(broker.Connect(), PublisherOptions{Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	e := &entry{result: make(chan error, 1), message: message0}
	e.until = time.Now().Add(p.options.Timeout)
	p.mu.Lock()
	p.held = 1
	first := p.startSingle(e, time.Now()).token
	p.mu.Unlock()
	answer := []byte(`{"error":{"code":409,"err_code":10158,"description":"duplicate message id is in process"}}`)
	p.confirmed(&nats.Msg{Subject: p.reply(first), Data: answer})
	if err := <-e.result; err != nil || e.token != first {
		t.Errorf("it ends with %v under token %d, not %d", err, e.token, first)
	}
}

// A sending that failed does not end a message that has been sent again since.
func TestFailedFlightEndsOnlyItself(t *testing.T) {
	t.Parallel()
	nc := jetstreamtest.Start(t).Connect()
	p, err := NewPublisher(nc, PublisherOptions{})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	e := &entry{result: make(chan error, 1), message: message0, token: 7, flights: 2}
	p.mu.Lock()
	p.alone[7], p.held = e, 1
	p.mu.Unlock()
	p.sendSingle(single{e, 1})
	if len(e.result) != 0 {
		t.Fatalf("it ends with %v", <-e.result)
	}
	p.sendSingle(single{e, 2})
	if err := <-e.result; !errors.Is(err, ErrDisconnected) {
		t.Errorf("it ends with %v", err)
	}
}

var message0 = Message{ID: "id", Subject: "notifications.sandbox.default.p", Body: []byte(`{}`)}
