package process

import (
	"fmt"
	"io"
	"strconv"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger writes one JSON object per line and event. Nothing is sampled:
// the line about a payment is the one that will be looked for.
func newLogger(role string, env func(string) (string, bool), w io.Writer) (*zap.Logger, error) {
	level := zapcore.InfoLevel
	if given, ok := env("LOG_LEVEL"); ok && given != "" {
		if err := level.Set(given); err != nil || level > zapcore.ErrorLevel {
			return nil, fmt.Errorf("LOG_LEVEL: %s is not a level; write debug, info, warn or error", strconv.Quote(given))
		}
	}
	keys := zapcore.EncoderConfig{
		TimeKey: "time", EncodeTime: zapcore.RFC3339NanoTimeEncoder,
		LevelKey: "level", EncodeLevel: zapcore.LowercaseLevelEncoder,
		MessageKey: "msg", EncodeDuration: zapcore.StringDurationEncoder,
	}
	core := zapcore.NewCore(zapcore.NewJSONEncoder(keys), zapcore.Lock(zapcore.AddSync(w)), level)
	return zap.New(core).With(zap.String("role", role)), nil
}
