package spans

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// exportTimeout is how long one request to the collector may take. A guess.
const exportTimeout = 5 * time.Second

// answerLimit is how much of a collector's answer is read, so that its connection can be
// used again.
const answerLimit = 64 << 10

// export sends spans by OTLP over HTTP. It is an otlptrace.Client in place of otlptracehttp,
// whose package of messages brings gRPC into every binary: go.opentelemetry.io/proto/otlp
// v1.11.0, collector/trace/v1. Before it may go, check that this package does not import
// google.golang.org/grpc.
type export struct {
	http    *http.Client
	url     string
	headers map[string]string
	spans   *prometheus.CounterVec
	failing atomic.Bool
	log     *zap.Logger
	ctx     context.Context // Ends with end.
	end     context.CancelFunc
}

func newExport(o Options) (*export, error) {
	ctx, end := context.WithCancel(context.Background())
	e := &export{
		url: o.Endpoint, headers: o.Headers, log: o.Log, ctx: ctx, end: end,
		http: &http.Client{
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute},
			Timeout:   exportTimeout,
			// A redirect would send the headers to a host that is not configured.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		spans: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_trace_spans_total",
			Help: "Spans sent to the collector, by result: exported or failed. Spans that found the queue full are not in it.",
		}, []string{"result"}),
	}
	for _, result := range []string{resultExported, resultFailed} {
		e.spans.WithLabelValues(result)
	}
	if err := o.Registerer.Register(e.spans); err != nil {
		return nil, fmt.Errorf("register metrics of spans: %w", err)
	}
	return e, nil
}

const (
	resultExported = "exported"
	resultFailed   = "failed"
)

// Start implements otlptrace.Client. The first export connects.
func (e *export) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (e *export) Stop(context.Context) error {
	e.http.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. A failure is counted and, the first time, logged.
// It is not returned, because the SDK would write it to stderr beside the log. The spans are
// not sent again.
func (e *export) UploadTraces(ctx context.Context, all []*otlp.ResourceSpans) error {
	sent := 0
	for _, resource := range all {
		for _, scope := range resource.GetScopeSpans() {
			sent += len(scope.GetSpans())
		}
	}
	err := e.send(ctx, all)
	if err != nil {
		e.spans.WithLabelValues(resultFailed).Add(float64(sent))
		if !e.failing.Swap(true) {
			e.log.Warn("spans.export_failed", zap.Error(err))
		}
		return nil
	}
	e.spans.WithLabelValues(resultExported).Add(float64(sent))
	if e.failing.Swap(false) {
		e.log.Info("spans.export_resumed")
	}
	return nil
}

func (e *export) send(ctx context.Context, all []*otlp.ResourceSpans) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(e.ctx, cancel)
	defer stop()
	// TracesData and the request of the protocol have the same form on the wire.
	body, err := proto.Marshal(&otlp.TracesData{ResourceSpans: all})
	if err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("export spans: %w", reason(err))
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	for name, value := range e.headers {
		request.Header.Set(name, value)
	}
	answer, err := e.http.Do(request)
	if err != nil {
		return fmt.Errorf("export spans: %w", reason(err))
	}
	defer answer.Body.Close() //nolint:errcheck // It was only read from.
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, answerLimit))
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("export spans: the collector answers with status %d", answer.StatusCode)
	}
	return nil
}

// reason is an error of net/http without the URL, in whose query a credential may be.
func reason(err error) error {
	var about *url.Error
	if errors.As(err, &about) {
		return about.Err
	}
	return err
}
