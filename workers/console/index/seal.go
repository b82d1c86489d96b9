package index

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
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
// damaged files. Without keep, or if the file is not what the seal says, it is first emptied: its
// bytes are overwritten with zeros, as those of erased payments are.
func (x *Index) openFile(name string, flag int, mode os.FileMode, keep bool) (*os.File, error) {
	file, err := os.OpenFile(name, flag, mode) //nolint:gosec // The configuration names the folder.
	if err != nil {
		return nil, err
	}
	if err := x.prepare(file, keep); err != nil {
		return nil, join(err, file.Close())
	}
	return file, nil
}

func (x *Index) prepare(file *os.File, keep bool) error {
	if err := lock(file); err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	if keep {
		seal, sealErr := os.ReadFile(x.sealPath())
		sum, err := x.sum(file)
		if sealErr == nil && err == nil && string(seal) == sum {
			return nil
		}
	}
	x.rebuilt = true
	return join(zero(file, 0, info.Size()), file.Sync(), file.Truncate(0))
}

// lock locks the file as bbolt does, for which it is then locked already.
func lock(file *os.File) error {
	for began := time.Now(); ; time.Sleep(openPause) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) //nolint:gosec // A descriptor is small.
		if err == nil {
			return nil
		}
		if time.Since(began) > openTimeout {
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
