package figures

import (
	"os"
	"path/filepath"
	"strings"
)

// filesystem names the file system that dir lies on, and says of an ext4
// whether it has a journal: without one it syncs several times faster, and most
// have one. It is "unknown file system" where the kernel does not tell.
func filesystem(dir string) string {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "unknown file system"
	}
	kind, device := mountOf(string(mounts), dir)
	switch kind {
	case "":
		return "unknown file system"
	case "ext4":
		// The kernel has a folder for each journal, named after device and inode.
		journals, err := filepath.Glob("/proc/fs/jbd2/" + filepath.Base(device) + "-*")
		if err == nil && len(journals) == 0 {
			return "ext4 without a journal"
		}
		return "ext4 with a journal"
	}
	return kind
}

// mountOf finds the type and the device of what dir, an absolute path, is
// mounted on: the longest mount point above it, and of the same ones the last.
func mountOf(mounts, dir string) (kind, device string) {
	longest := -1
	for line := range strings.Lines(mounts) {
		// See proc_pid_mountinfo(5): the mount point is the fifth field, type and
		// device are the first two behind the dash.
		before, after, ok := strings.Cut(line, " - ")
		point, what := strings.Fields(before), strings.Fields(after)
		if !ok || len(point) < 5 || len(what) < 2 || len(point[4]) < longest || !above(point[4], dir) {
			continue
		}
		longest, kind, device = len(point[4]), what[0], what[1]
	}
	return kind, device
}

// above reports whether dir is at point or below it.
func above(point, dir string) bool {
	return point == "/" || dir == point || strings.HasPrefix(dir, point+"/")
}
