package topology

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go/jetstream"
)

// StageBatches makes a single broker stage atomic batches below folder, by a link from each
// stream that allows them. account is the folder of the streams' account: the broker's
// `<store_dir>/jetstream/<account>`. A link needs no rights, unlike the mounts of
// deploy/compose.yaml, but the broker removes it when it starts.
func StageBatches(account, folder string) error {
	for _, s := range Streams(Settings{}) {
		if !s.AllowAtomicPublish || s.Storage != jetstream.FileStorage {
			continue
		}
		stage := filepath.Join(folder, s.Name)
		if err := os.MkdirAll(stage, 0o700); err != nil {
			return fmt.Errorf("stage batches elsewhere: %w", err)
		}
		link := filepath.Join(account, "streams", s.Name, "batches")
		if err := os.RemoveAll(link); err != nil {
			return fmt.Errorf("stage batches elsewhere: %w", err)
		}
		if err := os.Symlink(stage, link); err != nil {
			return fmt.Errorf("stage batches elsewhere: %w", err)
		}
	}
	return nil
}
