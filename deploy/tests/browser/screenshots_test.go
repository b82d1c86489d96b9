package browser

import (
	"bytes"
	"cmp"
	"flag"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
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
}

// mostBytes bounds all screenshots together, so that the repository stays small.
const mostBytes = 300 << 10

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
		shown, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if shown, err = small(shown); err != nil {
			t.Fatal(err)
		}
		if sum += len(shown); len(shown) < 2<<10 {
			t.Errorf("the screenshot of %s has %d bytes", shot.name, len(shown))
		}
		if *write == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(*write, shot.name+".png"), shown, 0o644); err != nil { //nolint:gosec // G306: a published picture.
			t.Fatal(err)
		}
	}
	if sum > mostBytes {
		t.Errorf("the screenshots have %d bytes together, at most %d are for them", sum, mostBytes)
	}
}

// mostColours are those of a screenshot.
const mostColours = 48

// small is a screenshot with its commonest colours, which is a third as large and looks the
// same: pages have few colours, and letters many shades of them.
func small(screenshot []byte) ([]byte, error) {
	full, err := png.Decode(bytes.NewReader(screenshot))
	if err != nil {
		return nil, err
	}
	counts, bounds := map[color.RGBA]int{}, full.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)]++
		}
	}
	common := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int {
		return cmp.Or(counts[b]-counts[a], int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B))
	})
	colours := color.Palette{}
	for _, c := range common[:min(len(common), mostColours)] {
		colours = append(colours, c)
	}
	few, nearest := image.NewPaletted(bounds, colours), map[color.RGBA]uint8{}
	for c := range counts {
		nearest[c] = uint8(colours.Index(c))
	}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			few.SetColorIndex(x, y, nearest[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)])
		}
	}
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	err = encoder.Encode(&out, few)
	return out.Bytes(), err
}
