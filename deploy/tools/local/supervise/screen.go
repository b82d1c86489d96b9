package supervise

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/time/rate"
)

// clockFormat is the time of day at the beginning of a line.
const clockFormat = "15:04:05.000"

// maxLine is how much of a line is shown, in characters: as many columns as most
// terminals have. Log files and streams keep the whole text.
const maxLine = 120

// shownPerSecond bounds the lines of one feed. A guess at what can be read.
const shownPerSecond = 5

// screen writes whole lines to the terminal. It is safe for concurrent use.
type screen struct {
	mu sync.Mutex
	to io.Writer
}

// print writes lines as they are.
func (s *screen) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = io.WriteString(s.to, text+"\n") // A terminal that is gone is no reason to stop.
}

// note writes one line with the time of day.
func (s *screen) note(format string, args ...any) {
	s.print(timed(time.Now(), fmt.Sprintf(format, args...)))
}

func timed(now time.Time, text string) string {
	return plain(now.Format(clockFormat)+"  "+text, maxLine)
}

// plain cuts a text to limit characters and replaces what does not print, such as
// newlines and escape sequences.
func plain(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '.'
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return text
}

// feed is a source of notes that shows some per second and counts the others. It is not
// safe for concurrent use.
type feed struct {
	screen *screen
	name   string // Begins each note.
	rest   string // Follows the number of notes that were not shown, and says where they are.
	now    func() time.Time
	limit  *rate.Limiter
	hidden int
}

func newFeed(s *screen, perSecond rate.Limit, name, rest string) *feed {
	return &feed{screen: s, name: name, rest: rest, now: time.Now, limit: rate.NewLimiter(perSecond, shownPerSecond)}
}

// show writes a note, or counts it where the limit is reached. "" is no note.
func (f *feed) show(text string) {
	switch {
	case text == "":
		return
	case !f.limit.AllowN(f.now(), 1):
		f.hidden++
		return
	case f.hidden > 0:
		f.screen.note("%s%d %s", f.name, f.hidden, f.rest)
		f.hidden = 0
	}
	f.screen.note("%s%s", f.name, text)
}

// logbook writes the output of one process to its log file, and warnings in short to
// the screen. It is safe for concurrent use.
type logbook struct {
	mu   sync.Mutex
	role string
	feed *feed
	file *os.File
	rest []byte // The beginning of a line that has not ended yet.
}

// openLogbook begins a log file, and keeps that of the run before as .old.
func (s *supervisor) openLogbook(role string) (*logbook, error) {
	path := filepath.Join(s.logDir(), role+".log")
	_ = os.Rename(path, path+".old") // The first run has none.
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	s.onStop(file.Close)
	return &logbook{role: role, file: file, feed: newFeed(s.screen, shownPerSecond, role+": ", "more lines are in "+path)}, nil
}

// Write takes any part of the output. It never fails, also where the disk is full: an
// error would end the process whose output this is.
func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _ = b.file.Write(p)
	b.rest = append(b.rest, p...)
	for {
		line, rest, ended := bytes.Cut(b.rest, []byte("\n"))
		if !ended {
			return len(p), nil
		}
		b.feed.show(digest(line))
		b.rest = rest
	}
}

// digest is a log line in short, and "" below a warning. What is not JSON is shown as
// it is: a process writes that only when something is wrong.
func digest(line []byte) string {
	line = bytes.TrimSpace(line)
	var entry struct {
		Level, Msg, Error     string
		Provider, Rule, Field string // Of a refused webhook.
	}
	if json.Unmarshal(line, &entry) != nil || entry.Level == "" {
		return string(line)
	}
	level, err := zapcore.ParseLevel(entry.Level)
	if err == nil && level < zapcore.WarnLevel || entry.Msg == "lookup.failed" { // It has a line when it is scheduled.
		return ""
	}
	detail := entry.Error
	if entry.Rule != "" {
		detail = entry.Provider + ", rule " + entry.Rule
		if entry.Field != "" {
			detail += ", field " + entry.Field
		}
	}
	if detail != "" {
		detail = " (" + detail + ")"
	}
	return entry.Level + ": " + entry.Msg + detail
}

// logger writes JSON lines to the logbook.
func (b *logbook) logger() *zap.Logger {
	keys := zap.NewProductionEncoderConfig()
	keys.TimeKey, keys.EncodeTime = "time", zapcore.RFC3339NanoTimeEncoder
	core := zapcore.NewCore(zapcore.NewJSONEncoder(keys), zapcore.AddSync(b), zapcore.InfoLevel)
	return zap.New(core).With(zap.String("role", b.role))
}
