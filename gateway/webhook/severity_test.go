package webhook

import (
	"errors"
	"fmt"
	"testing"

	"go.uber.org/zap/zapcore"
)

func TestOnlyWhatIsNotSaidElsewhereIsLoud(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code    code
		failure error
		want    zapcore.Level
	}{
		"accepted":     {accepted, nil, zapcore.InfoLevel},
		"invalid":      {invalid, nil, zapcore.InfoLevel},
		"overloaded":   {unavailable, fmt.Errorf("store: %w", ErrOverloaded), zapcore.InfoLevel},
		"limited":      {unavailable, fmt.Errorf("store: %w", ErrLimited), zapcore.InfoLevel},
		"disconnected": {unavailable, fmt.Errorf("store: %w", ErrDisconnected), zapcore.InfoLevel},
		"full":         {unavailable, fmt.Errorf("store: %w", ErrFull), zapcore.ErrorLevel},
		"timeout":      {unavailable, ErrTimeout, zapcore.ErrorLevel},
		"unverified":   {unavailable, ErrUnverified, zapcore.ErrorLevel},
		"ours":         {unavailable, errors.New("webhook panicked"), zapcore.ErrorLevel},
	} {
		if got := severity(c.code, c.failure); got != c.want {
			t.Errorf("%s is logged as %v, want %v", name, got, c.want)
		}
	}
}
