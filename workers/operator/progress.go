package operator

import (
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far long work is. Where nobody watches it shows nothing,
// so that logs and pipes stay clean.
type progress interface {
	Add(n int) error
	Finish() error
}

type unseen struct{}

func (unseen) Add(int) error { return nil }
func (unseen) Finish() error { return nil }

// newProgress makes a bar on w when it is a terminal.
func newProgress(w io.Writer, total int, doing string) progress {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return unseen{}
	}
	return progressbar.NewOptions(total,
		progressbar.OptionSetWriter(file), progressbar.OptionSetDescription(doing),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
}
