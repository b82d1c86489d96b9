package lookup_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/spans"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/record"
	"arauto/workers/lookup"
)

func TestEveryLatencyOfARecordedWebhookHasItsTraceAsExemplar(t *testing.T) {
	t.Parallel()
	const webhook = "0af7651916cd43dd8448eb211c80319c"
	r := setup(t)
	registry := prometheus.NewRegistry()
	tracer, err := spans.Open(spans.Options{
		Endpoint: testbench.StartCollector(t).URL, OneIn: 1, Service: "arauto-lookup", Log: zap.NewNop(), Registerer: prometheus.NewRegistry(),
	})
	r.Must(err)
	r.worker.Metrics, r.worker.Trace = lookup.NewMetrics(registry), tracer
	r.fails(http.StatusInternalServerError)
	r.handle(r.store(record.Notification{ID: "n", Payment: "p", Trace: "00-" + webhook + "-b7ad6b7169203331-01"}))
	r.says("paid", 10000, 0)
	r.fire("p")
	r.Must(tracer.Close(r.Ctx))

	for _, histogram := range []string{"arauto_lookup_seconds", "arauto_lookup_schedule_lag_seconds"} {
		if found := exemplars(t, registry, histogram); !slices.Equal(slices.Compact(found), []string{webhook}) {
			t.Errorf("%s has the traces %q as exemplars, want %s", histogram, found, webhook)
		}
	}
}

// exemplars are the trace ids in the buckets of a histogram.
func exemplars(t *testing.T, registry *prometheus.Registry, histogram string) (traces []string) {
	t.Helper()
	all, err := registry.Gather()
	testbench.Must(t, err)
	for _, family := range all {
		if family.GetName() != histogram {
			continue
		}
		for _, m := range family.GetMetric() {
			for _, b := range m.GetHistogram().GetBucket() {
				for _, label := range b.GetExemplar().GetLabel() {
					traces = append(traces, label.GetValue())
				}
			}
		}
	}
	return traces
}
