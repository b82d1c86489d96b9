// Package recordtest checks in tests that what was stored keeps the contract
// of a dead letter.
package recordtest

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"arauto/schemas/record"
)

// compiled is the schema with formats asserted. It is compiled once, because
// every test with a broker asks for it.
var compiled = sync.OnceValues(func() (*jsonschema.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(record.DeadLetterSchema))
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("deadletter.v1.schema.json", document); err != nil {
		return nil, fmt.Errorf("add schema: %w", err)
	}
	return compiler.Compile("deadletter.v1.schema.json")
})

// Validate says how a dead letter's body breaks the JSON Schema, or nil.
func Validate(body []byte) error {
	schema, err := compiled()
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("read dead letter: %w", err)
	}
	return schema.Validate(value)
}
