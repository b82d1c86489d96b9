package config

import (
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
)

// tracingSection configures the spans that every role exports.
type tracingSection struct {
	Endpoint string               `yaml:"endpoint"`                          // Where a collector takes OTLP over HTTP, with its path, such as https://otel:4318/v1/traces. Default "": no spans.
	OneIn    int                  `yaml:"sample_one_in" within:"1 10000000"` // One webhook in so many is recorded. Default 100.
	Headers  map[string]reference `yaml:"headers,omitempty"`                 // Of each request to the collector; their values are secrets.
}

// Tracing says where a role sends spans, and how many.
type Tracing struct {
	Endpoint string            // "" for nowhere: nothing is recorded.
	OneIn    int               // One webhook in so many is recorded.
	Headers  map[string]Secret // Of each request, by name.
}

// Tracing resolves the headers of the spans' requests. The error is Problems.
func (c *Config) Tracing() (Tracing, error) { return resolved(c, (*checks).tracing) }

// Deployment is the name of the deployment, "" for none.
func (c *Config) Deployment() string { return c.file.Deployment }

// headerName is a name of an HTTP header (RFC 9110 section 5.1), of letters, digits and '-'.
var headerName = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

func (k *checks) checkTracing(t tracingSection) {
	for _, name := range slices.Sorted(maps.Keys(t.Headers)) {
		if at := "tracing.headers." + name; !headerName.MatchString(name) || http.CanonicalHeaderKey(name) == "Content-Type" {
			k.refuse(at, "is not a header that can be set; write a name such as authorization")
		}
		k.checkSecret(t.Headers[name])
	}
	if t.Endpoint == "" {
		return
	}
	u, err := url.Parse(t.Endpoint)
	switch { // The URL itself is not shown, because people put passwords there.
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path == "" || u.Path == "/":
		k.refuse("tracing.endpoint", "is not where a collector takes OTLP over HTTP; write its URL with the path, such as http://127.0.0.1:4318/v1/traces")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		k.refuse("tracing.endpoint", "carries a user, a query or a fragment; write a credential as tracing.headers")
	case len(t.Headers) > 0 && u.Scheme == "http" && !k.Local() && !loopback(u.Hostname()):
		k.refuse("tracing.endpoint", "sends tracing.headers to another host in plain text; write https://")
	}
}

func (k *checks) tracing() Tracing {
	t := k.file.Tracing
	if t.Endpoint == "" {
		return Tracing{}
	}
	resolved := Tracing{Endpoint: t.Endpoint, OneIn: t.OneIn, Headers: map[string]Secret{}}
	for _, name := range slices.Sorted(maps.Keys(t.Headers)) {
		if r := t.Headers[name]; !r.IsZero() {
			if value, ok := k.resolve(r); ok {
				resolved.Headers[name] = NewSecret(value)
			}
		}
	}
	return resolved
}
