package main

import (
	"context"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tools/bench/load"
)

// TestEventTimesAreOfTheFirstEventOfEachPayment publishes events of which some
// are second ones, of another run, or of a payment that no load has sent.
func TestEventTimesAreOfTheFirstEventOfEachPayment(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	urls, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- serveBroker(ctx, []string{t.TempDir()}, func(addresses ...any) error {
			urls <- addresses[0].(string)
			return nil
		})
	}()
	var url string
	select {
	case url = <-urls:
	case err := <-ended:
		t.Fatal(err)
	}
	js, err := connect(url)
	testbench.Must(t, err)
	const run = 7
	o := load.Options{Start: time.Now(), Rate: 1000, Run: run}
	publish := func(payment, status string) {
		if _, err := js.Publish(ctx, "orders.picpay-checkout.default."+payment+".payment."+status, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	publish(load.Payment{Group: run - 1, N: 3}.String(), "paid")
	publish("another", "paid")
	publish(load.Payment{Group: run, N: 0}.String(), "authorized")
	between := time.Since(o.Start)
	publish(load.Payment{Group: run, N: 0}.String(), "paid")
	publish(load.Payment{Group: run, N: 2}.String(), "paid")
	times, err := eventTimes(ctx, url, o, 2)
	if err != nil || len(times) != 2 || times[0] <= 0 || times[0] > between || times[2] < between {
		t.Errorf("%v, %v; want 0 before %v and 2 after it", times, err, between)
	}
	js.Conn().Close()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
