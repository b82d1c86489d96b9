// Package panics turns a panic into an error, so that one message or one task that
// panics does not end the others of its process.
package panics

import (
	"fmt"

	"go.uber.org/zap"
)

// Error is a panic that Try recovered. Value may hold secrets, and Error prints it.
type Error struct {
	Value any
	Stack string // Functions, files and lines, without arguments.
}

func (e *Error) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Try returns what call returns, or an *Error when it panics.
func Try(call func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &Error{Value: value, Stack: zap.Stack("").String}
		}
	}()
	return call()
}
