package console

import (
	"fmt"
	"html"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/workers/console/index"
)

var (
	cellLink = regexp.MustCompile(`<td class="n"><a href="(/payments\?[^"]*)">([0-9,]+)</a>`)
	rowLink  = regexp.MustCompile(`<th scope="row"><a href="/payments/`)
)

// A cell and the list behind its link are of the same payments.
func TestCellOfTheTotalsCountsWhatItsLinkLists(t *testing.T) {
	t.Parallel()
	r := start(t)
	now := time.Date(2026, 11, 30, 18, 0, 0, 0, time.UTC)
	r.site.Now = func() time.Time { return now }
	midnight := now.Truncate(24 * time.Hour)
	var all []index.Payment
	for n, at := range []time.Time{
		now, midnight, midnight.Add(-time.Nanosecond), now.Add(-24 * time.Hour), midnight.AddDate(0, 0, -6), midnight.AddDate(0, 0, -6).Add(-time.Nanosecond),
		midnight.AddDate(0, 0, -29), midnight.AddDate(0, 0, -29).Add(-time.Nanosecond), midnight.AddDate(0, 0, -400),
	} {
		for i, currency := range []string{"BRL", "CLP", ""} {
			name := fmt.Sprintf("p-%d-%d", n, i)
			all = append(all, index.Payment{
				Unit: r.Unit(name), Order: "o-" + name, Kind: order.Payment, Status: order.Paid, At: at, Sequence: uint64(len(all) + 1), Currency: currency, Value: 100,
			})
		}
	}
	r.Must(r.site.Index.Put(all, index.Position{Sequence: uint64(len(all))}))
	b := r.browser("joao")
	cells, sum := cellLink.FindAllStringSubmatch(b.see("/payments"), -1), 0
	for _, cell := range cells {
		page := b.see(html.UnescapeString(cell[1]))
		count, err := strconv.Atoi(cell[2])
		r.Must(err)
		if rows := len(rowLink.FindAllString(page, -1)); rows != count {
			t.Errorf("%s lists %d payments, its cell counts %d", cell[1], rows, count)
		}
		if !strings.Contains(page, `<option value="oldest" selected>`) {
			t.Errorf("%s does not begin with the oldest", cell[1])
		}
		sum += count
	}
	if len(cells) != 12 || sum != len(all) {
		t.Errorf("%d cells count %d payments, want 12 and %d", len(cells), sum, len(all))
	}
	newest := b.see("/payments?status=paid&currency=CLP&age=1")
	if rows := len(rowLink.FindAllString(newest, -1)); rows != 3 {
		t.Errorf("the newest first, %d are listed, want 3", rows)
	}
	lacks(t, b.see("/payments?status=disputed"), "No payment has an event")
	holds(t, b.see("/payments?status=disputed"), "No payment matches.")
}

func TestListThatWasNotReadSaysSo(t *testing.T) {
	t.Parallel()
	r := start(t)
	b := r.browser("joao")
	page := b.see("/payments")
	holds(t, page, "The events were not read since the console began")
	lacks(t, page, "100 %", "No payment has an event")
	r.feed()
	page = b.see("/payments")
	holds(t, page, "No payment has an event here yet")
	lacks(t, page, "not read since")
}
