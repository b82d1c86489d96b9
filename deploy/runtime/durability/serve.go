package durability

import (
	"encoding/json"
	"net/http"

	"go.uber.org/zap"
)

// ServeHTTP looks now and answers with the Report as JSON: status 200, or 503
// when nothing was ever seen.
func (w *Watcher) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	report := w.look(request.Context())
	answer.Header().Set("Content-Type", "application/json")
	answer.Header().Set("Cache-Control", "no-store")
	if report.Facts == nil {
		answer.WriteHeader(http.StatusServiceUnavailable)
	}
	encoder := json.NewEncoder(answer)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(report); err != nil {
		w.o.Log.Debug("durability.write_failed", zap.Error(err))
	}
}
