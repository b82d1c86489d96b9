package process

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// How much of the log waits to be written together. One system call per line
// would cost the gateway more than anything else it does for a webhook.
const (
	logBuffer = 64 << 10 // Bytes.
	logDelay  = 100 * time.Millisecond
)

// newLogger writes one JSON object per line and event. Nothing is sampled:
// the line about a payment is the one that will be looked for. Warnings and
// errors are written at once, with all that came before them; other lines
// within logDelay. The last ones are written by end, which must be called.
func newLogger(role string, env func(string) (string, bool), w io.Writer) (log *zap.Logger, end func(), err error) {
	level := zapcore.InfoLevel
	if given, ok := env("LOG_LEVEL"); ok && given != "" {
		if err := level.Set(given); err != nil || level > zapcore.ErrorLevel {
			return nil, nil, fmt.Errorf("LOG_LEVEL: %s is not a level; write debug, info, warn or error", strconv.Quote(given))
		}
	}
	keys := zapcore.EncoderConfig{
		TimeKey: "time", EncodeTime: zapcore.RFC3339NanoTimeEncoder,
		LevelKey: "level", EncodeLevel: zapcore.LowercaseLevelEncoder,
		MessageKey: "msg", EncodeDuration: zapcore.StringDurationEncoder,
	}
	out := newOutlet(w)
	buffered := &zapcore.BufferedWriteSyncer{WS: out, Size: logBuffer, FlushInterval: logDelay}
	prompt := func(e zapcore.Entry) error { // Runs once the line is in the buffer.
		if e.Level < zapcore.WarnLevel {
			return nil
		}
		return buffered.Sync()
	}
	// A failed write to stderr cannot be reported.
	end = func() { _ = buffered.Stop(); out.end() }
	log = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(keys), buffered, level), zap.Hooks(prompt), zap.Fields(zap.String("role", role)))
	return log, end, nil
}
