package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// slack is how many superseded lines a journal may have beyond four for each
// payment before it is rewritten.
const slack = 1000

// line is one change in the state file.
type line struct {
	key
	entry
}

// journal is the state file: JSON lines, the last one of a payment counts. A
// line per change costs the same however many payments there are, and it is
// in the kernel's hands before the control call is answered, so that killing
// the process loses nothing. It is not synced: a simulator need not survive
// the machine.
type journal struct {
	name  string
	file  *os.File
	lines int
}

// readJournal returns what the file holds, nothing when there is none. A last
// line that was cut off by a kill was never confirmed and is dropped.
func readJournal(name string) (map[key]entry, error) {
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state file: %w", err)
	}
	kept := map[key]entry{}
	for n := 1; len(raw) > 0; n++ {
		text, rest, whole := bytes.Cut(raw, []byte("\n"))
		raw = rest
		if !whole {
			break
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return nil, fmt.Errorf("read state file: line %d: %w", n, err)
		}
		kept[l.key] = l.entry
	}
	return kept, nil
}

// newJournal writes the entries to the file, one line each, and keeps it open
// for more.
func newJournal(name string, entries map[key]entry) (*journal, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, fmt.Errorf("create state folder: %w", err)
	}
	j := &journal{name: name}
	return j, j.rewrite(entries)
}

func (j *journal) append(k key, e entry) error {
	text, err := json.Marshal(line{k, e})
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	if _, err := j.file.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	j.lines++
	return nil
}

func (j *journal) compactWhenLong(entries map[key]entry) error {
	if j.lines <= 4*len(entries)+slack {
		return nil
	}
	return j.rewrite(entries)
}

// rewrite replaces the file as a whole: a new one beside it is renamed over
// it, so that there is a complete file at every moment.
func (j *journal) rewrite(entries map[key]entry) error {
	var text bytes.Buffer
	lines := json.NewEncoder(&text)
	for k, e := range entries {
		if err := lines.Encode(line{k, e}); err != nil {
			return fmt.Errorf("encode state: %w", err)
		}
	}
	next := j.name + ".new"
	err := os.WriteFile(next, text.Bytes(), 0o600)
	if err == nil {
		err = os.Rename(next, j.name)
	}
	if err == nil && j.file != nil {
		err = j.file.Close()
	}
	if err == nil {
		j.file, err = os.OpenFile(j.name, os.O_APPEND|os.O_WRONLY, 0o600)
	}
	if err != nil {
		return fmt.Errorf("replace state file: %w", err)
	}
	j.lines = len(entries)
	return nil
}

// close leaves one line per payment behind.
func (j *journal) close(entries map[key]entry) error {
	return errors.Join(j.rewrite(entries), j.file.Close())
}
