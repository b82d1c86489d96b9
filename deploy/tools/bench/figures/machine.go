package figures

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"arauto/deploy/tools/bench/latency"
)

// Synced is how much is appended before each sync that is measured: about
// one stored notification.
const Synced = 600

// Machine describes what the figures were measured on, in one paragraph. The
// disk is the one of dir, an absolute path, where it is tried for a while.
func Machine(ctx context.Context, dir string, try time.Duration) (string, error) {
	disk, err := Disk(ctx, dir, try)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %d cores, %s %s, %s. Disk: %s. %s. "+
		"Load, gateway and broker share the machine: read ratios, not rates.",
		processor(), runtime.NumCPU(), system(), runtime.GOARCH, runtime.Version(), disk, time.Now().UTC().Format(time.DateOnly)), nil
}

// Disk describes what dir, an absolute path, lies on, and how long appending
// and syncing takes there.
func Disk(ctx context.Context, dir string, try time.Duration) (string, error) {
	sync, err := disk(ctx, dir, try)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, append %d B and fsync p50 %s ms, p99 %s ms", filesystem(dir), Synced, Millis(sync.P50), Millis(sync.P99)), nil
}

// processor is the model of the CPU as the kernel names it.
func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return "Unknown CPU"
}

// system is the kernel with its release, where it tells it.
func system() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return runtime.GOOS + " " + strings.TrimSpace(string(release))
}

// disk measures how long it takes until what was appended is on the disk.
func disk(ctx context.Context, dir string, try time.Duration) (latency.Summary, error) {
	file, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return latency.Summary{}, fmt.Errorf("measure disk: %w", err)
	}
	var took latency.Histogram
	block := make([]byte, Synced)
	for began := time.Now(); time.Since(began) < try && ctx.Err() == nil; {
		start := time.Now()
		if _, err = file.Write(block); err != nil {
			break
		}
		if err = file.Sync(); err != nil {
			break
		}
		took.Add(time.Since(start))
	}
	if err := errors.Join(err, ctx.Err(), file.Close(), os.Remove(file.Name())); err != nil {
		return latency.Summary{}, fmt.Errorf("measure disk: %w", err)
	}
	return took.Summary(), nil
}
