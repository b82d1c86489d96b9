package operator

import (
	"cmp"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is the commit of an image. Its build has no checkout, so the Dockerfile sets it
// with the linker's -X.
var version string

// build is what this binary was built from.
type build struct {
	Revision string `json:"revision"` // Commit, with +changes if the tree had any; in an image what its build was given; else "unknown".
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
			return s.show(c, b, line("%s", b))
		},
	}
}

// describe returns what this binary was built from.
func describe() build {
	info, _ := debug.ReadBuildInfo() // nil without build information.
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

// described reads the build information of a binary, nil for none.
func described(info *debug.BuildInfo) build {
	b := build{Revision: "unknown", Go: "unknown"}
	if info == nil {
		return b
	}
	b.Go = info.GoVersion
	of := map[string]string{}
	for _, s := range info.Settings {
		of[s.Key] = s.Value
	}
	b.Revision, b.Time = cmp.Or(of["vcs.revision"], b.Revision), of["vcs.time"]
	if of["vcs.modified"] == "true" {
		b.Revision += "+changes"
	}
	return b
}
