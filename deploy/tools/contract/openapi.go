package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"arauto/gateway/webhook"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// The media types of bodies.
const (
	jsonType = "application/json"
	textType = "text/plain"
)

// openAPI makes the OpenAPI 3.1 document of the webhook routes of every provider, and of the
// admin listener of every role.
func openAPI() object {
	paths, schemes := adminPaths(), object{announcing: announcingScheme()}
	for _, p := range providers.All {
		security := []any{}
		if scheme, of := credential(p); scheme != nil {
			schemes[p.Name], security = scheme, []any{object{p.Name: []any{}}}
			if of != nil {
				schemes[p.Name+"Certificate"] = of
				security = []any{object{p.Name: []any{}, p.Name + "Certificate": []any{}}}
			}
		}
		for _, path := range pathsOf(p) {
			paths[path] = object{"post": webhookOperation(p, path, security), "parameters": pathParameters(path)}
		}
	}
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Arauto HTTP", "version": contractVersion,
			"description": "The webhooks of the payment providers at gateway.listen (tag webhooks), and health, readiness and metrics at each " +
				"role's admin listener (tag admin), which must never be public. Another path at gateway.listen is answered with 404.",
		},
		"servers": []any{object{"url": "/"}},
		"tags":    []any{object{"name": "webhooks", "description": "Served at gateway.listen."}, object{"name": "admin", "description": "Served at the admin address of each role."}},
		"paths":   paths,
		"components": object{
			"securitySchemes": schemes,
			"responses":       webhookResponses(),
			"schemas":         object{"Error": errorSchema(), "Readiness": readinessSchema()},
		},
	}
}

// pathsOf are the paths of a provider's webhooks.
func pathsOf(p provider.Provider) []string {
	if p.Unsigned != "" {
		return []string{"/v1/" + p.Name + "/{account}/{key}/notifications"}
	}
	return []string{"/v1/" + p.Name + "/notifications", "/v1/" + p.Name + "/{account}/notifications"}
}

func pathParameters(path string) []any {
	described := map[string]object{
		"account": {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,31}$", "description": "The account at the provider; without it the account is default."},
		"key":     {"type": "string", "minLength": 1, "description": "The account's path key, which is a secret."},
	}
	all := []any{}
	for _, m := range parameter.FindAllStringSubmatch(path, -1) {
		all = append(all, object{"name": m[1], "in": "path", "required": true, "schema": described[m[1]]})
	}
	return all
}

// webhookOperation is the POST of a provider's webhook, with every answer of the gateway.
func webhookOperation(p provider.Provider, path string, security []any) object {
	responses := object{}
	for status := range webhookResponses() {
		responses[status] = object{"$ref": "#/components/responses/" + status}
	}
	sample := sampleOf(p)
	about, _, _ := strings.Cut(p.Sample.About, "\n")
	operation := object{
		"operationId": strings.NewReplacer("{", "", "}", "", "/", "-").Replace(strings.TrimPrefix(path, "/v1/")),
		"summary":     about, "tags": []any{"webhooks"}, "security": security,
		"requestBody": object{"required": true, "description": "At most gateway.body_limit bytes, also unpacked. It may be packed with gzip.", "content": requestContent(sample)},
		"responses":   responses,
	}
	if p.Unsigned != "" {
		operation["description"] = "The path has the credential. " + p.Unsigned + "."
	}
	if len(p.Query) > 0 {
		list := []any{}
		for _, q := range p.Query {
			list = append(list, object{"name": q.Name, "in": "query", "required": false, "schema": object{"type": "string"}})
		}
		operation["parameters"] = list
	}
	return operation
}

// webhookResponses are the answers of the gateway, by status.
func webhookResponses() object {
	byStatus := map[int][]webhook.Answer{}
	for _, a := range webhook.Answers() {
		byStatus[a.Status] = append(byStatus[a.Status], a)
	}
	all := object{}
	for status, answers := range byStatus {
		var says, headers = []string{}, object{}
		list := []any{}
		for _, a := range answers {
			says = append(says, strconv.Itoa(a.Code)+": "+a.Message)
			list = append(list, a.Code)
			if a.Header != "" {
				headers[a.Header] = object{"required": true, "schema": object{"type": "string"}}
			}
		}
		response := object{"description": strings.Join(says, " ")}
		if status == http.StatusOK {
			response["description"] = "Every notification in the body is durable."
			response["content"] = object{textType: object{"schema": object{"type": "string", "const": answers[0].Message}}}
		} else {
			response["content"] = object{jsonType: object{"schema": object{
				"allOf": []any{object{"$ref": "#/components/schemas/Error"}, object{"type": "object", "properties": object{"code": object{"enum": list}}}},
			}}}
		}
		if len(headers) > 0 {
			response["headers"] = headers
		}
		all[strconv.Itoa(status)] = response
	}
	return all
}

// sampleOf is a webhook of the provider's sample, with fixed ids and times.
func sampleOf(p provider.Provider) provider.Webhook {
	at := time.Unix(1767323045, 0).UTC()
	unit := p.Sample.Units[0]
	return p.Sample.Webhook(provider.State{
		Account: provider.DefaultAccount, Unit: unit.Name, ID: "102030", Order: "102030", Status: unit.Opening, Amount: 10000,
		Reference: strings.Repeat("0123456789abcdef", 2), Created: at, Changed: at, Since: at,
	})
}

// requestContent is the body of a sample, with its media type.
func requestContent(w provider.Webhook) object {
	media := w.Header.Values("content-type")[0]
	media, _, _ = strings.Cut(media, ";")
	content := object{"schema": object{"type": "object"}}
	if strings.HasSuffix(media, "json") {
		var example any
		decoder := json.NewDecoder(bytes.NewReader(w.Body))
		decoder.UseNumber()
		if decoder.Decode(&example) == nil {
			content["example"] = example
		}
	}
	return object{media: content}
}

// credential describes how a provider's webhooks authenticate: by a header that its sample
// signs in, and by a client certificate. Both are nil for a key in the path.
func credential(p provider.Provider) (scheme, certificate object) {
	if p.Verify == nil {
		return nil, nil
	}
	bare, signed := sampleOf(p), sampleOf(p)
	signed.Method, signed.At, signed.Path = http.MethodPost, time.Unix(1767323045, 0), pathsOf(p)[0]
	p.Sample.Sign(&signed, p.Sample.Secret)
	headers, _ := signed.Header.(provider.HeaderMap)
	var names []string
	for name, values := range headers {
		if !reflect.DeepEqual(bare.Header.Values(name), values) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) > 0 {
		says := "The webhook secret of the account."
		if p.Tolerance > 0 {
			says = "A signature with the webhook secret of the account, made at most " + p.Tolerance.String() + " before or after it arrives."
		}
		scheme = object{"type": "apiKey", "in": "header", "name": names[0], "description": says}
	}
	if p.ClientCertificate {
		certificate = object{"type": "mutualTLS", "description": "The provider's client certificate."}
	}
	return scheme, certificate
}

func errorSchema() object {
	return object{
		"type": "object", "required": []any{"status", "code", "message"},
		"properties": object{
			"status":  object{"const": "error"},
			"code":    object{"type": "integer", "minimum": 400000, "maximum": 599999, "description": "Its first three digits are the HTTP status."},
			"message": object{"type": "string", "minLength": 1},
		},
	}
}

func readinessSchema() object {
	return object{
		"type": "object", "required": []any{"ready", "checks"},
		"properties": object{
			"ready":  object{"type": "boolean"},
			"checks": object{"type": "object", "additionalProperties": object{"type": "string"}, "description": "By check: ok, or what is wrong."},
		},
	}
}

// adminPaths are the routes of the admin listener.
func adminPaths() object {
	text := func(says string) object {
		return object{"description": says, "content": object{textType: object{"schema": object{"type": "string"}}}}
	}
	ready := func(says string) object {
		return object{"description": says, "content": object{jsonType: object{"schema": object{"$ref": "#/components/schemas/Readiness"}}}}
	}
	report := func(says string) object {
		return object{"description": says, "content": object{jsonType: object{"schema": object{
			"type": "object", "required": []any{"claimed", "holds", "facts"},
			"properties": object{
				"claimed": object{"type": "string", "description": "What gateway.durability claims."},
				"holds":   object{"type": "boolean"},
				"facts":   object{"type": []any{"object", "null"}, "description": "What was read of the broker; null when nothing was ever seen."},
			},
		}}}}
	}
	get := func(id, summary string, responses object, parameters ...any) object {
		return object{"get": object{"operationId": id, "summary": summary, "tags": []any{"admin"}, "security": []any{}, "parameters": append([]any{}, parameters...), "responses": responses}}
	}
	return object{
		"/healthz": get("health", "Whether the process runs", object{"200": text("It runs.")}),
		"/readyz": get("readiness", "Whether the process can work",
			object{"200": ready("It can."), "503": ready("It cannot; checks says why."), "400": text("The parameter for has another value.")},
			object{
				"name": "for", "in": "query", "required": false, "schema": object{"type": "string", "enum": []any{"balancer"}},
				"description": "balancer asks only whether requests may be sent: the process runs and is not stopping.",
			}),
		"/metrics": get("metrics", "Metrics for Prometheus", object{"200": text("The metrics.")}),
		"/expectations/{provider}/{account}/{payment}": expectationPath(),
		"/durability": get("durability", "What a 200 of the gateway survives (role gateway only)", object{"200": report("What was seen."), "503": report("Nothing was ever seen.")}),
	}
}
