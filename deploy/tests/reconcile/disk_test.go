//go:build powercut

package reconcile_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"arauto/deploy/runtime/testbench"
)

// disk is a file system of the test's own that can lose its power: what was
// not synced is gone.
type disk struct {
	image string
	at    string // Where it is mounted.
}

// diskSize is sparse: only what is written takes room.
const diskSize = 4 << 30

// newDisk makes an ext4 with a journal in a file. It needs Linux, root and a
// loop device.
func newDisk(t testing.TB) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a power cut needs a file system of its own to shut down, and so root")
	}
	dir := t.TempDir()
	d := &disk{image: filepath.Join(dir, "image"), at: filepath.Join(dir, "disk")}
	image, err := os.Create(d.image)
	testbench.Must(t, err)
	testbench.Must(t, errors.Join(image.Truncate(diskSize), image.Close(), os.Mkdir(d.at, 0o700)))
	if err := d.run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,nodiscard", d.image); err != nil {
		t.Fatalf("a power cut needs ext4: %v", err)
	}
	if err := d.mount(); err != nil {
		t.Fatalf("a power cut needs a loop device: %v", err)
	}
	t.Cleanup(func() {
		if err := d.unmount(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *disk) run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil { //nolint:noctx // They are short, and must not be cut off.
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

func (d *disk) mount() error   { return d.run("mount", "-o", "loop", d.image, d.at) }
func (d *disk) unmount() error { return d.run("umount", d.at) }

// shutDown is EXT4_IOC_SHUTDOWN, with which file systems test themselves:
// _IOR('X', 125, __u32). noLogFlush keeps even the journal from what was not
// synced.
const (
	shutDown   = 0x8004587d
	noLogFlush = 2
)

// cut takes the power. From then on nothing reaches the disk, and whoever has
// a file open gets errors.
func (d *disk) cut() error {
	root, err := os.Open(d.at)
	if err != nil {
		return fmt.Errorf("cut the power: %w", err)
	}
	defer root.Close() //nolint:errcheck // Only used for the call.
	if err := unix.IoctlSetPointerInt(int(root.Fd()), shutDown, noLogFlush); err != nil {
		return fmt.Errorf("cut the power: %w", err)
	}
	return nil
}

// restore gives the power back when nobody has a file open any more: the
// journal is replayed, and what is left is what had been synced.
func (d *disk) restore() error { return errors.Join(d.unmount(), d.mount()) }
