package ratelimit

import (
	"testing"
	"time"
)

// A broker that was away for six seconds: the worker's old lease must not keep it waiting.
func TestAWorkerDoesNotWaitForItsOwnOldLease(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	m := members{others: map[string]member{}}
	m.join("one")
	m.confirmed(at, at)
	at = at.Add(5 * time.Second)
	m.join("two") // Its store fails: the broker is away.
	at = at.Add(time.Second)
	m.join("three")
	m.takeAll([]storedLease{{name: "one", sequence: 1, at: at.Add(-6 * time.Second)}, {name: "three", sequence: 2, at: at}}, at, at)
	m.confirmed(at, at)
	if m.share("") == 0 {
		t.Error("the only worker has no share: it waits for the lease that it had itself")
	}
}
