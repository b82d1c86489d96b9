package operator

import (
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is what an image was built from. Its build has no checkout, so the
// Dockerfile sets it with the linker's -X.
var version string

// build says what this binary was built from.
type build struct {
	Revision string `json:"revision"` // Commit, with +changes when the tree had some; in an image what its build was given; else "unknown".
	Time     string `json:"time,omitempty"`
	Go       string `json:"go"`
}

func newVersion(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print what this binary was built from",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			b := describe()
			if s.output == jsonOutput {
				return writeJSON(c.OutOrStdout(), b)
			}
			return printLine(c.OutOrStdout(), b.String())
		},
	}
}

// describe says what this binary was built from.
func describe() build {
	info, _ := debug.ReadBuildInfo() // nil when it is not there.
	b := described(info)
	if version != "" {
		b.Revision, b.Time = version, ""
	}
	return b
}

func (b build) String() string {
	line := "arauto " + b.Revision
	if b.Time != "" {
		line += " of " + b.Time
	}
	return line + ", " + b.Go
}

// described reads what the Go tool has written into a binary, nil for one
// that it has not built.
func described(info *debug.BuildInfo) build {
	b := build{Revision: "unknown", Go: "unknown"}
	if info == nil {
		return b
	}
	b.Go = info.GoVersion
	changed := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			changed = s.Value == "true"
		}
	}
	if changed {
		b.Revision += "+changes"
	}
	return b
}
