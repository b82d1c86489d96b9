package main

import (
	"encoding/json"

	"arauto/schemas/expectation"
)

// announcing names the bearer token of the routes that announce expected payments.
const announcing = "expectations"

// announcingScheme describes that token.
func announcingScheme() object {
	return object{"type": "http", "scheme": "bearer", "description": "expect.http_token; without it there are no such routes."}
}

// expectationPath are the routes of the role expect for services without NATS.
func expectationPath() object {
	answer := func(says string) object {
		return object{"description": says, "content": object{jsonType: object{"schema": object{
			"type": "object",
			"properties": object{
				"result":  object{"enum": []any{"accepted", "replaced", "unchanged", "withdrawn", "absent"}, "description": "What it changed; missing for a refusal."},
				"version": object{"type": "string", "description": "Of the expectation; outcomes carry it."},
				"error":   object{"type": "string", "description": "Why it is refused, or was not stored."},
			},
		}}}}
	}
	responses := object{
		"200": answer("It is durable."), "400": answer("The body cannot be read; error names the field."),
		"401": answer("The bearer token is missing or wrong."), "422": answer("The payment cannot be expected."),
		"503": answer("It could not be stored; send it again."),
	}
	operation := func(id, summary string) object {
		return object{
			"operationId": id, "summary": summary, "tags": []any{"admin"}, "security": []any{object{announcing: []any{}}}, "responses": responses,
		}
	}
	var schema object
	_ = json.Unmarshal(expectation.Schema, &schema) // Embedded, and read by the tests of schemas.
	put := operation("expect", "Announce that a payment is expected (role expect only)")
	put["requestBody"] = object{"required": true, "content": object{jsonType: object{"schema": inlined(schema)}}}
	parameters := []any{}
	for _, name := range []string{"provider", "account", "payment"} {
		parameters = append(parameters, object{"name": name, "in": "path", "required": true, "schema": object{"type": "string", "minLength": 1}})
	}
	return object{"put": put, "delete": operation("withdraw", "Withdraw an expected payment (role expect only)"), "parameters": parameters}
}
