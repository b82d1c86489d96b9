// Package version says what a binary was built from.
package version

import (
	"cmp"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// revision is the commit of an image. Its build has no checkout, so the Dockerfile sets it
// with the linker's -X.
var revision string

// Build is what a binary was built from.
type Build struct {
	Revision string `json:"revision"`       // Commit, with +changes if the tree had any; in an image what its build was given; else "unknown".
	Time     string `json:"time,omitempty"` // Of the commit, RFC 3339.
	Go       string `json:"go"`             // Version of Go.
}

// Read returns what this binary was built from.
func Read() Build {
	info, _ := debug.ReadBuildInfo() // nil without build information.
	b := of(info)
	if revision != "" {
		b.Revision, b.Time = revision, ""
	}
	return b
}

// String returns the build in one line.
func (b Build) String() string {
	line := b.Revision
	if b.Time != "" {
		line += " of " + b.Time
	}
	return line + ", " + b.Go
}

// Print writes what every binary answers to -version.
func Print(to io.Writer, binary string) {
	_, _ = fmt.Fprintln(to, binary, Read()) // A failed write to stdout cannot be reported.
}

// Metric returns arauto_build_info, which is always 1.
func Metric() prometheus.Collector {
	b := Read()
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "arauto_build_info", Help: "Always 1; the labels say what the binary was built from.",
		ConstLabels: prometheus.Labels{"revision": b.Revision, "goversion": b.Go},
	}, func() float64 { return 1 })
}

// of reads the build information of a binary, nil for none.
func of(info *debug.BuildInfo) Build {
	b := Build{Revision: "unknown", Go: "unknown"}
	if info == nil {
		return b
	}
	b.Go = info.GoVersion
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	b.Revision, b.Time = cmp.Or(settings["vcs.revision"], b.Revision), settings["vcs.time"]
	if settings["vcs.modified"] == "true" {
		b.Revision += "+changes"
	}
	return b
}
