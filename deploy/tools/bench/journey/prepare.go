package journey

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"arauto/deploy/tools/bench/load"
)

// Latency is how long the simulated provider takes for each answer.
const Latency = 5 * time.Millisecond

// tellers is how many payments are put at a time.
const tellers = 8

// prepare slows the simulated provider down and makes it know the payments,
// paid.
func prepare(ctx context.Context, simulator string, group uint16, count uint64) error {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: tellers}}
	defer client.CloseIdleConnections()
	base := "http://" + simulator + "/_sim/picpay-checkout/"
	if err := put(ctx, client, base+"fault", fmt.Sprintf(`{"kind":"slow","retry_after":%g}`, Latency.Seconds())); err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	var next atomic.Uint64
	for range tellers {
		all.Go(func() error {
			for {
				n := next.Add(1) - 1
				if n >= count {
					return nil
				}
				if err := put(ctx, client, base+"default/payments/"+load.PaymentID(group, n), `{"status":"PAID"}`); err != nil {
					return err
				}
			}
		})
	}
	return all.Wait()
}

func put(ctx context.Context, client *http.Client, url, body string) (err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("tell simulator: %w", err)
	}
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("tell simulator: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("read simulator's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("tell simulator: it answers %d", resp.StatusCode)
	}
	return nil
}
