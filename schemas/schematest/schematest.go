// Package schematest holds documents to the published JSON Schemas in tests.
package schematest

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/record"
)

// The schemas are compiled once, because every test with a broker asks for them.
var (
	event      = compiled("event.v1.schema.json", order.EventSchema)
	deadLetter = compiled("deadletter.v1.schema.json", record.DeadLetterSchema)
	audit      = compiled("audit.v1.schema.json", record.AuditSchema)
	expected   = compiled("expectation.v1.schema.json", expectation.Schema)
	outcome    = compiled("outcome.v1.schema.json", expectation.OutcomeSchema)
)

// Event says how the body of an order event breaks its schema, or nil.
func Event(body []byte) error { return validate(event, body) }

// DeadLetter says how the body of a dead letter breaks its schema, or nil.
func DeadLetter(body []byte) error { return validate(deadLetter, body) }

// Expectation says how the body of an expectation breaks its schema, or nil.
func Expectation(body []byte) error { return validate(expected, body) }

// Outcome says how the body of an expectation's outcome breaks its schema, or nil.
func Outcome(body []byte) error { return validate(outcome, body) }

// Audit says how the body of an audit entry breaks its schema, or nil.
func Audit(body []byte) error { return validate(audit, body) }

// compiled compiles a schema on first use, with formats asserted.
func compiled(name string, text []byte) func() (*jsonschema.Schema, error) {
	return sync.OnceValues(func() (*jsonschema.Schema, error) {
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("read schema: %w", err)
		}
		compiler := jsonschema.NewCompiler()
		compiler.AssertFormat()
		if err := compiler.AddResource(name, document); err != nil {
			return nil, fmt.Errorf("add schema: %w", err)
		}
		return compiler.Compile(name)
	})
}

func validate(schema func() (*jsonschema.Schema, error), body []byte) error {
	s, err := schema()
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("read document: %w", err)
	}
	return s.Validate(value)
}
