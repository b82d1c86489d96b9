package version

import (
	"runtime/debug"
	"testing"
)

func TestBuildNamesTheCommitAndWhetherItWasChanged(t *testing.T) {
	t.Parallel()
	info := &debug.BuildInfo{GoVersion: "go1.26.0", Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "4d3dbe8"}, {Key: "vcs.time", Value: "2026-11-22T00:00:00Z"}, {Key: "vcs.modified", Value: "true"},
	}}
	got := of(info)
	if want := (Build{"4d3dbe8+changes", "2026-11-22T00:00:00Z", "go1.26.0"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if line := got.String(); line != "4d3dbe8+changes of 2026-11-22T00:00:00Z, go1.26.0" {
		t.Errorf("printed as %q", line)
	}
	if got, want := of(nil), (Build{Revision: "unknown", Go: "unknown"}); got != want {
		t.Errorf("without build information: %+v, want %+v", got, want)
	}
}
