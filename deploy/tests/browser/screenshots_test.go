package browser

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

var write = flag.String("write", "", "folder for the screenshots of the pages; none are made without it")

// shots are the pages that CONSOLE.md shows.
var shots = []struct{ name, path string }{
	{"now", "/"},
	{"payments", "/payments"},
	{"payment", "/payments/picpay/default/shown-refunded"},
	{"dead", "/dead"},
	{"providers", "/providers"},
	{"broker", "/broker"},
	{"replay", "/act/replay?provider=picpay&account=default&payment=shown-refunded"},
	{"login", "/login"},
}

// mostBytes bounds all screenshots together, so that the repository stays small.
const mostBytes = 600 << 10

// TestScreenshots looks at each page, and writes what it sees if -write names a folder.
func TestScreenshots(t *testing.T) {
	b := newTab(t)
	b.login("operator")
	play(t, b)
	b.size(1100, 700)
	sum := 0
	for i, shot := range shots {
		b.scheme([]string{"light", "dark"}[i%2])
		b.get(shot.path)
		b.await("the title", `document.querySelector("h1") !== null`)
		ctx, cancel := b.limited()
		image, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if sum += len(image); len(image) < 2<<10 {
			t.Errorf("the screenshot of %s has %d bytes", shot.name, len(image))
		}
		if *write == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(*write, shot.name+".png"), image, 0o644); err != nil { //nolint:gosec // G306: it is for everybody.
			t.Fatal(err)
		}
	}
	if sum > mostBytes {
		t.Errorf("the screenshots have %d bytes together, at most %d are for them", sum, mostBytes)
	}
}
