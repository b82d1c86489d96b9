package conformance_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/testbench"
)

// documentedHTTP is the OpenAPI document of the HTTP side.
var documentedHTTP = sync.OnceValues(func() (validator.Validator, error) {
	text, err := os.ReadFile(filepath.Join(root, "deploy", "contract", "openapi.json"))
	if err != nil {
		return nil, err
	}
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		return nil, err
	}
	v, problems := validator.NewValidator(document)
	for _, problem := range problems {
		return nil, problem
	}
	return v, nil
})

// holdAdminToContract asks every documented route of a process's admin listener, and
// validates the answers with the OpenAPI document.
func (p *launched) holdAdminToContract(ctx context.Context, role string) {
	p.t.Helper()
	v, err := documentedHTTP()
	testbench.Must(p.t, err)
	routes := map[string]int{
		"/healthz": http.StatusOK, "/readyz": http.StatusOK, "/readyz?for=balancer": http.StatusOK, "/readyz?for=people": http.StatusBadRequest, "/metrics": http.StatusOK,
	}
	if role == config.RoleGateway {
		routes["/durability"] = http.StatusOK
	}
	client := http.Client{Timeout: time.Minute}
	for route, want := range routes {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+route, http.NoBody)
		testbench.Must(p.t, err)
		request.Close = true
		answer, err := client.Do(request)
		testbench.Must(p.t, err)
		ok, problems := v.ValidateHttpResponse(request, answer)
		_ = answer.Body.Close() // It was read.
		if answer.StatusCode != want {
			p.t.Errorf("%s: GET %s was answered with %d, want %d", role, route, answer.StatusCode, want)
		}
		if !ok {
			for _, problem := range problems {
				p.t.Errorf("%s: GET %s, answered with %d: %s: %s %v", role, route, answer.StatusCode, problem.Message, problem.Reason, problem.SchemaValidationErrors)
			}
		}
	}
}

// TestContractRefusesAnotherAnswer shows that the validation would find a wrong answer.
func TestContractRefusesAnotherAnswer(t *testing.T) {
	t.Parallel()
	v, err := documentedHTTP()
	testbench.Must(t, err)
	for route, body := range map[string]string{"/readyz": `{"ready": "yes", "checks": {}}`, "/durability": `{"holds": true}`} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://admin"+route, http.NoBody)
		testbench.Must(t, err)
		answer := &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: request,
		}
		if ok, _ := v.ValidateHttpResponse(request, answer); ok {
			t.Errorf("the contract takes %s of %s", body, route)
		}
	}
}
