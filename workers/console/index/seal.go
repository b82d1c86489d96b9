package index

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"arauto/deploy/runtime/wait"
)

// version is that of the file's layout. A file of another version is built again.
const version = "2"

const (
	// openTimeout is how long another process may hold the file, such as a console that stops,
	// and openPause is between two tries.
	openTimeout = 5 * time.Second
	openPause   = 50 * time.Millisecond
)

// castagnoli is the polynomial that processors have an instruction for.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openFile opens and locks the file before bbolt reads it, which panics or does not end on some
// damaged files. A file that is not sealed is first emptied: its bytes are overwritten with
// zeros, as those of erased payments are.
func (x *Index) openFile(name string, flag int, mode os.FileMode, sealed func(*os.File) bool) (*os.File, error) {
	file, err := os.OpenFile(name, flag, mode)
	if err != nil {
		return nil, err
	}
	if err = lock(file); err == nil && !sealed(file) {
		err = x.empty(file)
	}
	if err != nil {
		return nil, join(err, file.Close())
	}
	return file, nil
}

// empty overwrites a file, and cuts it to nothing.
func (x *Index) empty(file *os.File) error {
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	x.rebuilt = true
	return join(zero(file, 0, info.Size()), file.Sync(), file.Truncate(0))
}

// sealed reports whether a file is as Close left it.
func (x *Index) sealed(file *os.File) bool {
	seal, missing := os.ReadFile(x.sealPath())
	sum, err := x.sum(file)
	return missing == nil && err == nil && string(seal) == sum
}

// neverSealed is for a file that must not be used whatever is in it.
func neverSealed(*os.File) bool { return false }

// lock locks the file as bbolt does, for which it is then locked already.
func lock(file *os.File) error {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !wait.For(ctx, openPause) {
			return fmt.Errorf("%w: %w", berrors.ErrTimeout, err)
		}
	}
}

// The seal is a file with the checksum of the index as Close left it. A seal that is missing or
// old means that the process was killed.
func (x *Index) sealPath() string { return x.path + ".seal" }

func (x *Index) seal() error {
	file, err := os.Open(x.path)
	if err != nil {
		return fmt.Errorf("seal index: %w", err)
	}
	sum, err := x.sum(file)
	if err == nil {
		err = os.WriteFile(x.sealPath(), []byte(sum), 0o600)
	}
	if err = join(err, file.Close()); err != nil {
		return fmt.Errorf("seal index: %w", err)
	}
	return nil
}

// sum is the text of the seal: the layout, a word by which keys of hashes differ, checksum and length.
func (x *Index) sum(file *os.File) (string, error) {
	sum := crc32.New(castagnoli)
	size, err := io.Copy(sum, io.NewSectionReader(file, 0, 1<<62))
	return fmt.Sprintf("%s %s %08x %d\n", version, x.tokens.Hash("index")[:8], sum.Sum32(), size), err
}
