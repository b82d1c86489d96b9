package webhook_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/webhook"
	"arauto/schemas/providers"
)

// documented is the OpenAPI document of the HTTP side.
var documented = sync.OnceValues(func() (validator.Validator, error) {
	text, err := os.ReadFile("../../deploy/contract/openapi.json")
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

// holdToContract fails the test for an answer that the OpenAPI document does not have. A
// request to another path than the document's must be refused: with 404, or with 401 or 405
// where only its key is missing. A provider that a test has made up is held to the sandbox's route.
func holdToContract(t testing.TB, request *http.Request, answer reply) {
	t.Helper()
	if request.Method == http.MethodHead { // Its answer has no body.
		return
	}
	v, err := documented()
	testbench.Must(t, err)
	path := strings.TrimSuffix(request.URL.Path, "/")
	if parts := strings.Split(path, "/"); len(parts) > 2 && answer.status != http.StatusNotFound && !slices.Contains(providers.All.Names(), parts[2]) {
		parts[2] = "sandbox"
		path = strings.Join(parts, "/")
	}
	asked, err := http.NewRequest(http.MethodPost, "http://gateway"+path, http.NoBody)
	testbench.Must(t, err)
	response := &http.Response{StatusCode: answer.status, Header: answer.header, Body: io.NopCloser(bytes.NewReader([]byte(answer.body))), Request: asked}
	ok, problems := v.ValidateHttpResponse(asked, response)
	if ok {
		return
	}
	if len(problems) == 1 && problems[0].IsPathMissingError() && slices.Contains([]int{http.StatusNotFound, http.StatusUnauthorized, http.StatusMethodNotAllowed}, answer.status) {
		answer.code(t) // It is in the envelope.
		return
	}
	for _, problem := range problems {
		t.Errorf("%s %s, answered %d %q: %s: %s", request.Method, request.URL.Path, answer.status, answer.body, problem.Message, problem.Reason)
		for _, detail := range problem.SchemaValidationErrors {
			t.Errorf("  %s", detail.Reason)
		}
	}
}

// TestAnswersAreThoseOfTheContract gets the answers of every provider's route from a running
// gateway, and validates each with the OpenAPI document. All other tests of this package
// validate theirs too.
func TestAnswersAreThoseOfTheContract(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) { o.BodyLimit, o.ReadTimeout = 8<<10, time.Minute })
	for _, c := range callers(t) {
		secret := c.secret("default")
		post := func(want int, target string, headers map[string]string, body string) {
			t.Helper()
			if got := g.post(target, headers, body); got.status != want {
				t.Errorf("%s: answered %d %s, want %d", c.name, got.status, got.body, want)
			}
		}
		target, headers, body := c.about("default", secret, "p")
		post(http.StatusOK, target, headers, body)
		post(http.StatusRequestEntityTooLarge, target, headers, body+strings.Repeat(" ", 9<<10))
		if got := g.do(http.MethodPut, target, headers, strings.NewReader(body)); got.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: PUT was answered with %d", c.name, got.status)
		}
		post(http.StatusNotFound, "/v1/"+c.name+"/default/"+secret+"/more/notifications", headers, body)
		if c.p.Verify == nil {
			post(http.StatusUnauthorized, c.path("default", "wrong"), headers, body)
		} else {
			wrong, bad, sent := c.about("default", "wrong", "p")
			post(http.StatusBadRequest, wrong, bad, sent)
			post(http.StatusUnauthorized, target, map[string]string{"content-type": "application/json"}, body)
		}
		if !c.query {
			target, headers, sent := c.sending("default", secret, "nothing")
			post(http.StatusBadRequest, target, headers, sent)
		}
		target, headers, body = c.about("default", secret, "p")
		headers["content-encoding"] = "br"
		post(http.StatusUnsupportedMediaType, target, headers, body)
	}
	g.broker.Stop()
	for _, c := range callers(t) {
		target, headers, body := c.about("default", c.secret("default"), "p")
		if got := g.post(target, headers, body); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: without a broker %d %s", c.name, got.status, got.body)
		}
	}
}

// TestContractDescribesEveryCredential compares the document with how each provider's sample
// authenticates.
func TestContractDescribesEveryCredential(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../deploy/contract/openapi.json")
	testbench.Must(t, err)
	document, err := libopenapi.NewDocument(text)
	testbench.Must(t, err)
	model, err := document.BuildV3Model()
	testbench.Must(t, err)
	for _, c := range callers(t) {
		scheme := model.Model.Components.SecuritySchemes.GetOrZero(c.name)
		switch {
		case c.header == "" && scheme != nil:
			t.Errorf("%s authenticates by its path, and the document has %v", c.name, scheme.Type)
		case c.header != "" && (scheme == nil || scheme.Type != "apiKey" || scheme.Name != c.header):
			t.Errorf("%s authenticates with the header %s, and the document has %v", c.name, c.header, scheme)
		}
	}
}

// TestAnswersAreListed compares the list with what the gateway can answer.
func TestAnswersAreListed(t *testing.T) {
	t.Parallel()
	var statuses []int
	for _, a := range webhook.Answers() {
		if a.Message == "" || a.Code != 0 && a.Code/1000 != a.Status || (a.Code == 0) != (a.Status == http.StatusOK) {
			t.Errorf("answer %+v", a)
		}
		statuses = append(statuses, a.Status)
	}
	for _, status := range []int{200, 400, 401, 404, 405, 408, 413, 415, 431, 503} {
		if !slices.Contains(statuses, status) {
			t.Error("no answer has the status " + strconv.Itoa(status))
		}
	}
}
