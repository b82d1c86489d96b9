package fleet

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used of the machine. Where the kernel has no
// /proc as Linux has it, everything is 0.
type Usage struct {
	CPU  time.Duration // User and system, since its start, to 10 ms.
	RSS  int64         // Resident memory in bytes,
	Peak int64         // and the most that it ever was.
}

// tick is the unit of /proc's times. Linux shows 100 to a second on every
// architecture that Go runs on.
const tick = 10 * time.Millisecond

// Usage reads what the process has used so far.
func (p *Process) Usage() Usage {
	var u Usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err != nil {
		return u
	}
	// The name, second and in parentheses, may have blanks.
	_, rest, _ := strings.Cut(string(stat), ") ")
	if fields := strings.Fields(rest); len(fields) > 12 {
		u.CPU = time.Duration(number(fields[11])+number(fields[12])) * tick
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil {
		return u
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "VmHWM:":
			u.Peak = number(fields[1]) << 10
		case "VmRSS:":
			u.RSS = number(fields[1]) << 10
		}
	}
	return u
}

// number is 0 for what is none.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
