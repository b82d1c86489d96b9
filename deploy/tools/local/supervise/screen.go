package supervise

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"
)

// screen is what a person sees. Many goroutines write to it, one whole line
// at a time.
type screen struct {
	mu sync.Mutex
	to io.Writer
}

// print writes lines as they are.
func (s *screen) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = io.WriteString(s.to, text+"\n") // Nobody can be told when the terminal is gone.
}

// note writes a line with the time, for what happens once in a while.
func (s *screen) note(format string, args ...any) {
	s.print(plain(time.Now().Format(clockFormat)+"  "+fmt.Sprintf(format, args...), maxLine))
}

// clockFormat is the time of day, which is all that a person at a terminal
// needs.
const clockFormat = "15:04:05.000"

// maxLine is how much of a line is shown, in characters: as many columns as most
// terminals have. The whole of it is in the log file, or in the broker.
const maxLine = 120

// shownPerSecond bounds what one source of lines may put on the screen.
const shownPerSecond = 5

// throttle holds a source of lines to shownPerSecond. It is not safe for concurrent
// use.
type throttle struct {
	now    func() time.Time
	window time.Time // When the present second of shown lines began.
	shown  int       // Lines shown in it.
	hidden int       // Lines not shown since the last one that was.
}

// take reports whether one more line may be shown, and how many were not since the
// last one.
func (t *throttle) take() (hidden int, ok bool) {
	now := t.now()
	if now.Sub(t.window) >= time.Second {
		t.window, t.shown = now, 0
	}
	if t.shown >= shownPerSecond {
		t.hidden++
		return 0, false
	}
	t.shown++
	hidden, t.hidden = t.hidden, 0
	return hidden, true
}

// plain makes a text safe for a terminal and short: what does not print, a
// newline or an escape sequence for example, is replaced.
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
