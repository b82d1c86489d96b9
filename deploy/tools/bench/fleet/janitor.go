package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// sweeps is how often a janitor tries: the processes that write in the folder
// need a moment to notice that the benchmark is gone.
const sweeps = 200

// Janitor waits until ctx ends, which it does when the benchmark is gone, and
// then removes its folders. A benchmark that ends in order kills its janitor.
func Janitor(ctx context.Context, dirs ...string) error {
	<-ctx.Done()
	var failed []error
	for _, dir := range dirs {
		failed = append(failed, sweep(dir))
	}
	return errors.Join(failed...)
}

// sweep removes a folder, and once more until nobody makes it again.
func sweep(dir string) error {
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	var err error
	for range sweeps {
		if err = os.RemoveAll(dir); err == nil {
			// Somebody may just have made it again.
			if _, gone := os.Stat(dir); os.IsNotExist(gone) {
				return nil
			}
		}
		<-pause.C
	}
	return fmt.Errorf("remove folder: %w", err)
}
