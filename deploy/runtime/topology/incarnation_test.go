package topology_test

import (
	"testing"

	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/subject"
)

// TestApplyKeepsTheIncarnationOfARestoredStream changes a stream whose metadata says when the
// copied one was created.
func TestApplyKeepsTheIncarnationOfARestoredStream(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t)
	config := b.Stream(subject.Orders).CachedInfo().Config
	config.Metadata[stream.IncarnationKey], config.Description = "2026-01-02T03:04:05.6Z", "another"
	_, err := b.JS.UpdateStream(b.Ctx, config)
	b.Must(err)
	mended, err := topology.Apply(b.Ctx, b.JS, topology.Settings{Replicas: 1, Store: testbench.Store})
	b.Must(err)
	if len(mended) == 0 {
		t.Error("the change was not found, so this shows nothing")
	}
	if at := stream.Incarnation(b.Stream(subject.Orders).CachedInfo()); at.Format("2006-01-02T15:04:05.9Z") != "2026-01-02T03:04:05.6Z" {
		t.Errorf("after an update the stream counts from %v", at)
	}
}
