package index

import (
	"fmt"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// release gives back the memory in which the file is mapped. Its pages stay in the kernel's cache,
// which no process is charged for; a page that is read again is mapped again. Without it everything that was ever
// read would count as the process's memory.
func release(tx *bolt.Tx) error {
	// The mapping cannot change during a transaction, and is never smaller than its size.
	_, _, errno := unix.Syscall(unix.SYS_MADVISE, tx.DB().Info().Data, uintptr(tx.Size()), unix.MADV_DONTNEED)
	if errno != 0 {
		return fmt.Errorf("give memory back: %w", errno)
	}
	return nil
}

// released is do with a release after it.
func released(do func(*bolt.Tx) error) func(*bolt.Tx) error {
	return func(tx *bolt.Tx) error { return join(do(tx), release(tx)) }
}
