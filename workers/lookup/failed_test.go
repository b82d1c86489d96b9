package lookup_test

import (
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
)

// failures are answers that fail a look-up, and how the failure is recorded.
var failures = map[string]struct {
	status int
	body   string
	class  string
	text   string
}{
	"server error":    {http.StatusBadGateway, "<html>", "unavailable", "status 502"},
	"redirect":        {http.StatusFound, "", "unreadable", "status 302"},
	"HTML page":       {http.StatusOK, "<html>", "unreadable", "body is not JSON"},
	"wrong id":        {http.StatusOK, `{"payment":"other","status":"paid","amount":100}`, "unreadable", "another payment"},
	"wrong amount":    {http.StatusOK, `{"payment":"p","status":"paid","amount":-1}`, "unreadable", "amount"},
	"refused":         {http.StatusUnprocessableEntity, "{}", "refused", "status 422"},
	"unknown payment": {http.StatusNotFound, "{}", "not_found", "status 404"},
}

func TestFailedLookUpIsLoggedOnceAndKeptUntilAnswered(t *testing.T) {
	t.Parallel()
	for name, f := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			log, logs := testbench.Logs(zap.InfoLevel)
			r.worker.Log = log
			r.script(func(string, int) (int, string) { return f.status, f.body })
			r.handle(r.notify("p"))

			lines := logs.FilterMessage("lookup.failed").All()
			if len(lines) != 1 || lines[0].Level != zap.WarnLevel {
				t.Fatalf("%d lines: %v", len(lines), lines)
			}
			line := lines[0].ContextMap()
			text, _ := line["error"].(string)
			if line["class"] != f.class || !strings.Contains(text, f.text) || line["http_status"] != int64(f.status) || line["next_at"] == nil {
				t.Errorf("it says %v", line)
			}
			parked := r.parked("p").Parked
			if len(parked.FailedLookUps) != 1 {
				t.Fatalf("parked with %+v", parked.FailedLookUps)
			}
			got := parked.FailedLookUps[0]
			if got.Class != f.class || got.Error != text || got.HTTP != f.status || got.Next == nil || !got.Next.Equal(parked.DueAt) {
				t.Errorf("parked with %+v, due at %v", got, parked.DueAt)
			}

			r.fire("p") // It fails again.
			r.says("pending", 10000, 0)
			r.fire("p")
			seen := r.last("p").Observation
			if seen.Status != order.Pending || len(seen.FailedLookUps) != 2 || !seen.FailedLookUps[0].At.Equal(got.At) {
				t.Errorf("the answer has %+v", seen.FailedLookUps)
			}
			if next := r.parked("p").Parked; next.Cause != order.CauseRecheck || next.FailedLookUps != nil {
				t.Errorf("the recheck is %+v", next)
			}
		})
	}
}

func TestDeadLetterHasEveryFailedLookUp(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusBadGateway)
	r.handle(r.notify("p"))
	for range offsets {
		r.fire("p")
	}
	deadLetters := r.deadLetters()
	if len(deadLetters) != 1 {
		t.Fatalf("%d dead letters", len(deadLetters))
	}
	list := deadLetters[0].FailedLookUps
	if len(list) != len(offsets)+1 {
		t.Fatalf("it tells %+v", list)
	}
	for i, f := range list {
		if last := i == len(list)-1; f.HTTP != http.StatusBadGateway || f.Attempt != i || (f.Next == nil) != last {
			t.Errorf("number %d is %+v", i, f)
		}
	}
}

func TestDeferredLookUpIsNotRecordedAsFailed(t *testing.T) {
	t.Parallel()
	r := setup(t)
	log, logs := testbench.Logs(zap.InfoLevel)
	r.worker.Log = log
	delete(r.worker.Accounts, "default")
	r.handle(r.notify("p"))
	if got := r.parked("p").Parked.FailedLookUps; len(got) != 1 || got[0].Class != "ours" || got[0].HTTP != 0 {
		t.Errorf("without settings: %+v", got)
	}
	if n := logs.FilterMessage("lookup.failed").Len(); n != 1 {
		t.Errorf("%d lines", n)
	}
}
