package testbench

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Collector takes spans by OTLP over HTTP, as a collector of OpenTelemetry does.
type Collector struct {
	URL string // Where it takes them.

	mu     sync.Mutex
	spans  []Exported
	header http.Header
	raw    [][]byte
}

// Exported is a span that a Collector has got. IDs are lower-case hex.
type Exported struct {
	Trace, ID, Parent string
	Name, Kind        string
	Service           string
	Failed            bool
	Attributes        map[string]string
}

// StartCollector starts a Collector that ends with the test.
func StartCollector(t testing.TB) *Collector {
	t.Helper()
	c := &Collector{}
	server := httptest.NewServer(http.HandlerFunc(c.take))
	t.Cleanup(server.Close)
	c.URL = server.URL + "/v1/traces"
	return c
}

// take keeps the spans of one request.
func (c *Collector) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var request otlp.TracesData // The request of the protocol has the same form on the wire.
	if err == nil {
		err = proto.Unmarshal(body, &request)
	}
	if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw, c.header = append(c.raw, body), r.Header.Clone()
	for _, resource := range request.GetResourceSpans() {
		service := attributes(resource.GetResource().GetAttributes())["service.name"]
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, Exported{
					Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
					Name: s.GetName(), Kind: s.GetKind().String(), Service: service, Failed: s.GetStatus().GetCode() == 2, Attributes: attributes(s.GetAttributes()),
				})
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.WriteHeader(http.StatusOK) // An empty body is an answer without fields.
}

func attributes(of []*common.KeyValue) map[string]string {
	all := map[string]string{}
	for _, a := range of {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			all[a.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			all[a.GetKey()] = strconv.FormatInt(v.IntValue, 10)
		default:
			all[a.GetKey()] = fmt.Sprint(v)
		}
	}
	return all
}

// Spans are what it has got, of a trace, or of all with "".
func (c *Collector) Spans(trace string) []Exported {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.spans), func(s Exported) bool { return trace != "" && s.Trace != trace })
}

// Requests are the bodies that it has got, and the header of the last.
func (c *Collector) Requests() ([][]byte, http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.raw), c.header
}
