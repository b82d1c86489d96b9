package process

import (
	"errors"
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
	core := prompt{zapcore.NewCore(zapcore.NewJSONEncoder(keys), buffered, level)}
	// Stderr may be gone at the end, and there is nowhere else to say it.
	end = func() { _ = buffered.Stop(); out.end() }
	return zap.New(core).With(zap.String("role", role)), end, nil
}

// prompt is a core that does not keep warnings and errors waiting.
type prompt struct{ zapcore.Core }

func (p prompt) With(fields []zapcore.Field) zapcore.Core { return prompt{p.Core.With(fields)} }

func (p prompt) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if p.Enabled(e.Level) {
		return checked.AddCore(e, p)
	}
	return checked
}

func (p prompt) Write(e zapcore.Entry, fields []zapcore.Field) error {
	err := p.Core.Write(e, fields)
	if e.Level >= zapcore.WarnLevel {
		err = errors.Join(err, p.Sync())
	}
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	return nil
}
