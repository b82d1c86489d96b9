package watch_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/promqltest"
)

// readyQuery is what the chart renders for KEDA, a test of the chart says so.
const readyQuery = "../../chart/tests/queries/lookup-picpay.promql"

// two lookup processes that show the same consumers: 400 fresh and 100 due, and 10 that
// are delivered.
const waiting = `
	arauto_consumer_pending_messages{namespace="payments",instance="a",stream="NOTIFICATIONS",consumer="lookup-picpay"} 400
	arauto_consumer_pending_messages{namespace="payments",instance="b",stream="NOTIFICATIONS",consumer="lookup-picpay"} 400
	arauto_consumer_ack_pending_messages{namespace="payments",instance="a",stream="NOTIFICATIONS",consumer="lookup-picpay"} 10
	arauto_consumer_ack_pending_messages{namespace="payments",instance="b",stream="NOTIFICATIONS",consumer="lookup-picpay"} 10
	arauto_consumer_pending_messages{namespace="payments",instance="a",stream="LOOKUP_RETRIES",consumer="lookup-due-picpay"} 100
	arauto_consumer_ack_pending_messages{namespace="payments",instance="a",stream="LOOKUP_RETRIES",consumer="lookup-due-picpay"} 0
	arauto_consumer_paused{namespace="payments",instance="a",stream="LOOKUP_RETRIES",consumer="lookup-due-picpay"} 0
	arauto_consumer_pending_messages{namespace="payments",instance="a",stream="NOTIFICATIONS",consumer="lookup-picpay-checkout"} 70000
	arauto_consumer_ack_pending_messages{namespace="payments",instance="a",stream="NOTIFICATIONS",consumer="lookup-picpay-checkout"} 0
	arauto_consumer_paused{namespace="payments",instance="a",stream="NOTIFICATIONS",consumer="lookup-picpay-checkout"} 0
	arauto_consumer_pending_messages{namespace="other",instance="c",stream="NOTIFICATIONS",consumer="lookup-picpay"} 90000
	arauto_consumer_ack_pending_messages{namespace="other",instance="c",stream="NOTIFICATIONS",consumer="lookup-picpay"} 0
	arauto_consumer_paused{namespace="other",instance="c",stream="NOTIFICATIONS",consumer="lookup-picpay"} 0
	arauto_scheduled_lookups{namespace="payments",instance="s",provider="picpay"} 10000`

const (
	running = `
	arauto_consumer_paused{namespace="payments",instance="a",stream="NOTIFICATIONS",consumer="lookup-picpay"} 0
	arauto_consumer_paused{namespace="payments",instance="b",stream="NOTIFICATIONS",consumer="lookup-picpay"} 0`
	pausedConsumer = `
	arauto_consumer_paused{namespace="payments",instance="a",stream="NOTIFICATIONS",consumer="lookup-picpay"} 1
	arauto_consumer_paused{namespace="payments",instance="b",stream="NOTIFICATIONS",consumer="lookup-picpay"} 1`
)

// TestPausedProviderScalesNothing runs the query by which KEDA scales lookup.
func TestPausedProviderScalesNothing(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(readyQuery)
	if err != nil {
		t.Fatal(err)
	}
	paused := func(host, instance, value string) string {
		return "\n\tarauto_provider_paused{namespace=\"payments\",instance=\"" + instance + "\",provider=\"picpay\",host=\"" + host + "\"} " + value
	}
	for name, c := range map[string]struct {
		series string
		want   float64
		none   bool
	}{
		"no host is paused":                          {series: waiting + running + paused("one", "a", "0") + paused("one", "b", "0"), want: 510},
		"its only host is paused in every process":   {series: waiting + running + paused("one", "a", "1") + paused("one", "b", "1"), want: 0},
		"its only host is paused in one process":     {series: waiting + running + paused("one", "a", "1") + paused("one", "b", "0"), want: 510},
		"one of two hosts is paused":                 {series: waiting + running + paused("one", "a", "1") + paused("two", "a", "0"), want: 510},
		"both hosts are paused":                      {series: waiting + running + paused("one", "a", "1") + paused("two", "a", "1"), want: 0},
		"it has no look-ups, so no host":             {series: waiting + running, want: 510},
		"another deployment's provider is paused":    {series: waiting + running + strings.Replace(paused("one", "c", "1"), "payments", "other", 1), want: 510},
		"its consumer is paused at the broker":       {series: waiting + pausedConsumer + paused("one", "a", "0"), want: 100},
		"no lookup is scraped: a fault, not nothing": {series: paused("one", "a", "0"), none: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := promqltest.NewTestEngine(t, false, 5*time.Minute, maxSamples)
			load := "load 1m\n"
			for line := range strings.Lines(c.series) {
				if line = strings.TrimSpace(line); line != "" {
					load += "  " + line + "\n"
				}
			}
			query, err := engine.NewInstantQuery(t.Context(), promqltest.LoadedStorage(t, load), nil, string(text), time.Unix(0, 0))
			if err != nil {
				t.Fatal(err)
			}
			defer query.Close()
			got, err := query.Exec(t.Context()).Vector()
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.none && len(got) > 0, !c.none && len(got) != 1:
				t.Errorf("the query has %v", got)
			case !c.none && got[0].F != c.want:
				t.Errorf("the ready lag is %v, want %v", got[0].F, c.want)
			}
		})
	}
}
