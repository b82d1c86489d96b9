package supervise

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logbook takes the output of one part: everything goes to its file, and
// what a person should know also to the screen, in short. It is an io.Writer
// for any number of writers.
type logbook struct {
	role   string
	screen *screen

	mu   sync.Mutex
	file *os.File
	rest []byte // The beginning of a line that has not ended yet.
	throttle
}

// rotateAt is the size in bytes from which a log file is put aside, once, at
// the next start.
const rotateAt = 32 << 20

// maxRest bounds the beginning of a line that never ends, in bytes.
const maxRest = 64 << 10

// openLogbook appends to <dir>/<role>.log.
func openLogbook(dir, role string, s *screen) (*logbook, error) {
	path := filepath.Join(dir, role+".log")
	if info, err := os.Stat(path); err == nil && info.Size() > rotateAt {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, fmt.Errorf("put log aside: %w", err)
		}
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return &logbook{role: role, screen: s, file: file, throttle: throttle{now: time.Now}}, nil
}

// Write takes any part of the output, and shows it even where the file cannot
// take it. It never fails: whoever writes is a role's standard error, and that
// role would end for it.
func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rest = append(b.rest, p...)
	for {
		line, rest, ended := bytes.Cut(b.rest, []byte("\n"))
		if !ended {
			break
		}
		b.show(line)
		b.rest = rest
	}
	if len(b.rest) > maxRest {
		b.show(b.rest)
		b.rest = nil
	}
	_, _ = b.file.Write(p) // The disk is full, say.
	return len(p), nil
}

// Sync and Close make it a zap sink.
func (b *logbook) Sync() error { return b.file.Sync() }

// Close closes the file. Closing twice is allowed.
func (b *logbook) Close() error {
	if err := b.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close log of %s: %w", b.role, err)
	}
	return nil
}

// show puts a line on the screen if a person should see it, and no more than
// a few of them each second.
func (b *logbook) show(line []byte) {
	text := digest(line)
	if text == "" {
		return
	}
	hidden, ok := b.take()
	if !ok {
		return
	}
	if hidden > 0 {
		b.screen.note("%s: %d more lines are in %s", b.role, hidden, shorter(b.file.Name()))
	}
	b.screen.note("%s: %s", b.role, text)
}

// digest is a log line in short: "" when it is less than a warning. A line
// that is not JSON is shown as it is, because a role only writes such lines
// when something is wrong.
func digest(line []byte) string {
	line = bytes.TrimSpace(line)
	var entry struct {
		Level string `json:"level"`
		Text  string `json:"msg"`
		Error string `json:"error"`

		// Of a refused webhook.
		Provider string `json:"provider"`
		Rule     string `json:"rule"`
		Field    string `json:"field"`
	}
	if err := json.Unmarshal(line, &entry); err != nil || entry.Level == "" {
		return string(line)
	}
	level, err := zapcore.ParseLevel(entry.Level)
	if err == nil && level < zapcore.WarnLevel || entry.Text == "lookup.failed" {
		return "" // A failed look-up has a line of its own, from what is parked for it.
	}
	text := entry.Level + ": " + entry.Text
	switch {
	case entry.Rule != "" && entry.Field != "":
		text += " (" + entry.Provider + ", rule " + entry.Rule + ", field " + entry.Field + ")"
	case entry.Rule != "":
		text += " (" + entry.Provider + ", rule " + entry.Rule + ")"
	case entry.Error != "":
		text += " (" + entry.Error + ")"
	}
	return text
}

// logger writes JSON lines to the logbook.
func (b *logbook) logger() *zap.Logger {
	keys := zapcore.EncoderConfig{
		TimeKey: "time", EncodeTime: zapcore.RFC3339NanoTimeEncoder,
		LevelKey: "level", EncodeLevel: zapcore.LowercaseLevelEncoder,
		MessageKey: "msg", EncodeDuration: zapcore.StringDurationEncoder,
	}
	core := zapcore.NewCore(zapcore.NewJSONEncoder(keys), b, zapcore.InfoLevel)
	return zap.New(core).With(zap.String("role", b.role))
}
