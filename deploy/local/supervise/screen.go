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
	s.print(time.Now().Format(clockFormat) + "  " + plain(fmt.Sprintf(format, args...), maxLine))
}

// clockFormat is the time of day, which is all that a person at a terminal
// needs.
const clockFormat = "15:04:05.000"

// maxLine is how much of a line is shown, in characters. The whole of it is
// in the log file.
const maxLine = 240

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
