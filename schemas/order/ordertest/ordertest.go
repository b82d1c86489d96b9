// Package ordertest checks in tests that what was published keeps the
// contract of an order event.
package ordertest

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"arauto/schemas/order"
)

// compiled is the event's schema with formats asserted. It is compiled once,
// because every test that publishes asks for it.
var compiled = sync.OnceValues(func() (*jsonschema.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(order.EventSchema))
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("event.v1.schema.json", document); err != nil {
		return nil, fmt.Errorf("add schema: %w", err)
	}
	return compiler.Compile("event.v1.schema.json")
})

// Validate says how an event's body breaks the JSON Schema, or nil.
func Validate(body []byte) error {
	schema, err := compiled()
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("read event: %w", err)
	}
	return schema.Validate(value)
}
