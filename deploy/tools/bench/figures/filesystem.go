package figures

import (
	"os"
	"path/filepath"
	"strings"
)

// filesystem names the file system that dir lies on, and says of an ext4
// whether it has a journal, where the kernel tells: without one it syncs several
// times faster, and most have one.
func filesystem(dir string) string {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "unknown file system"
	}
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	kind, device := mountOf(string(mounts), dir)
	switch kind {
	case "":
		return "unknown file system"
	case "ext4":
		return "ext4" + journal(device)
	}
	return kind
}

// Memory is the folder that Linux keeps in memory for everybody, "" where there is
// none.
func Memory() string {
	const dir = "/dev/shm"
	if filesystem(dir) != "tmpfs" {
		return ""
	}
	return dir
}

// Medium says what dir lies on, for a sentence: "in memory" or "on ext4".
func Medium(dir string) string {
	if kind := filesystem(dir); kind != "tmpfs" {
		return "on " + kind
	}
	return "in memory"
}

// journal says whether the ext4 on a device, given by its numbers, has a
// journal: " with a journal", " without a journal", or nothing where that
// cannot be seen. The kernel has a folder for each journal, named after device
// and inode.
func journal(device string) string {
	if _, err := os.Stat("/proc/fs/ext4"); err != nil {
		return ""
	}
	name, err := os.Readlink("/sys/dev/block/" + device)
	if err != nil {
		return ""
	}
	if journals, err := filepath.Glob("/proc/fs/jbd2/" + filepath.Base(name) + "-*"); err != nil || len(journals) == 0 {
		return " without a journal"
	}
	return " with a journal"
}

// mountOf finds the type and the device's numbers of what dir, an absolute path, is
// mounted on: the longest mount point above it, and of the same ones the last.
func mountOf(mounts, dir string) (kind, device string) {
	longest := -1
	for line := range strings.Lines(mounts) {
		// See proc_pid_mountinfo(5): the third field is the device, the fifth the
		// mount point, and the type is the first behind the dash.
		before, after, ok := strings.Cut(line, " - ")
		point, what := strings.Fields(before), strings.Fields(after)
		if !ok || len(point) < 5 || len(what) < 1 || len(point[4]) < longest || !above(point[4], dir) {
			continue
		}
		longest, kind, device = len(point[4]), what[0], point[2]
	}
	return kind, device
}

// above reports whether dir is at point or below it.
func above(point, dir string) bool {
	return point == "/" || dir == point || strings.HasPrefix(dir, point+"/")
}
