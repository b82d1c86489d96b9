package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// readyPatience is how long a role may take until it is ready.
const readyPatience = 30 * time.Second

// client asks the processes' admin listeners. It opens a connection for each
// request, so that none stands idle in the process that is measured.
var client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// awaitReady asks until the process says that it is ready.
func (p *Process) awaitReady(ctx context.Context, admin string) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for {
		_, err := get(ctx, "http://"+admin+"/readyz")
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return p.failed()
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", p.Name, errors.Join(ctx.Err(), err))
		case <-pause.C:
		}
	}
}

func get(ctx context.Context, url string) (body string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %d", url, resp.StatusCode)
	}
	return string(data), nil
}

// Gauge reads a metric without labels, such as go_goroutines.
func (s Server) Gauge(ctx context.Context, name string) (float64, error) {
	text, err := get(ctx, "http://"+s.Admin+"/metrics")
	if err != nil {
		return 0, fmt.Errorf("read metrics of %s: %w", s.Name, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return 0, fmt.Errorf("read metrics of %s: %w", s.Name, err)
	}
	metrics := families[name].GetMetric()
	if len(metrics) != 1 {
		return 0, fmt.Errorf("%s has %d metrics called %s", s.Name, len(metrics), name)
	}
	return metrics[0].GetGauge().GetValue(), nil
}
