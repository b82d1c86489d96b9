package panics_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"arauto/workers/internal/panics"
)

func ExampleTry() {
	fmt.Println(panics.Try(func() error { return nil }))
	fmt.Println(panics.Try(func() error { panic("no such map") }))
	// Output:
	// <nil>
	// panic: no such map
}

func explode() { panic("boom") }

func TestStackNamesTheFunctionThatPanicked(t *testing.T) {
	t.Parallel()
	var p *panics.Error
	if err := panics.Try(func() error { explode(); return nil }); !errors.As(err, &p) || p.Value != "boom" {
		t.Fatalf("it is %v", err)
	}
	if !strings.Contains(p.Stack, "explode") {
		t.Errorf("the stack is %s", p.Stack)
	}
}

func TestErrorIsReturnedAsItIs(t *testing.T) {
	t.Parallel()
	if err := panics.Try(func() error { return io.EOF }); err != io.EOF { //nolint:errorlint // The very error.
		t.Errorf("it is %v", err)
	}
}
