package webhook

import (
	"errors"
	"fmt"
	"testing"

	"go.uber.org/zap/zapcore"

	"arauto/deploy/runtime/commit"
	"arauto/gateway/publish"
)

func TestOnlyUnexpectedFailuresAreLoggedAsErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code    code
		failure error
		want    zapcore.Level
	}{
		"accepted":     {accepted, nil, zapcore.InfoLevel},
		"invalid":      {invalid, nil, zapcore.InfoLevel},
		"overloaded":   {unavailable, fmt.Errorf("store: %w", commit.ErrOverloaded), zapcore.InfoLevel},
		"limited":      {unavailable, fmt.Errorf("store: %w", errLimited), zapcore.InfoLevel},
		"disconnected": {unavailable, fmt.Errorf("store: %w", commit.ErrDisconnected), zapcore.InfoLevel},
		"full":         {unavailable, fmt.Errorf("store: %w", commit.ErrFull), zapcore.ErrorLevel},
		"timeout":      {unavailable, commit.ErrTimeout, zapcore.ErrorLevel},
		"unverified":   {unavailable, publish.ErrUnverified, zapcore.ErrorLevel},
		"panic":        {unavailable, errors.New("webhook panicked"), zapcore.ErrorLevel},
	} {
		if got := severity(c.code, c.failure); got != c.want {
			t.Errorf("%s is logged as %v, want %v", name, got, c.want)
		}
	}
}
