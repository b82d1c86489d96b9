package operator

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

// finding is a need as its JSON is read here.
type finding struct{ Danger, What string }

// findings runs doctor and returns what it found.
func (r *rig) findings(want int) []finding {
	r.T.Helper()
	var shown struct {
		Found []finding `json:"found"`
	}
	r.Must(json.Unmarshal([]byte(r.run(want, "doctor", "--output", "json")), &shown))
	return shown.Found
}

func TestDoctorFindsNothingInADeploymentThatWorks(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.tend()
	r.Until("nothing is found", func() bool {
		code, out, _ := arauto(t, "doctor", "--config", r.config)
		return code == ExitDone && strings.Contains(out, "nothing was found")
	})
}

func TestDoctorNamesEachFaultTheMostDangerousFirst(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.Must(r.JS.DeleteConsumer(r.Ctx, subject.Statuses, subject.NormalizeConsumer))
	config := r.Stream(subject.DeadLetters).CachedInfo().Config
	config.MaxAge = time.Hour
	_, err := r.JS.UpdateStream(r.Ctx, config)
	r.Must(err)
	letter := record.DeadLetter{
		ID: "NOTIFICATIONS-7", Class: record.ClassProvider, Stage: record.StageLookup, Provider: "sandbox", Account: "default", Kind: order.Payment,
		Payment: "p-1", Cause: "no answer", LastAnswer: "transport", Next: "redrive", Stream: subject.Notifications, Sequence: 7, At: time.Now().UTC(),
	}
	r.Must(r.dead.Put(r.Ctx, r.Unit("p-1"), letter, letter.ID, deadletter.SameID(letter.ID)))
	r.run(ExitDone, "circuit", "open", "--provider", "sandbox", "--account", "default")
	certificate := testbench.NewCertificate(t)
	certificate.Renew(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	r.Must(err)
	address := closed.Addr().String()
	r.Must(closed.Close())
	text, err := os.ReadFile(r.config)
	r.Must(err)
	text = []byte(strings.ReplaceAll(string(text), r.bank.url, "http://"+address))
	r.Must(os.WriteFile(r.config, fmt.Appendf(text, "gateway: {durability: node-loss, tls: {certificate: %q, key: %q}}\n", certificate.File, certificate.Key), 0o600))
	found := r.findings(ExitPartly)
	for _, want := range []finding{
		{"webhooks", "claims node-loss, which does not hold"},
		{"events", "circuit sandbox/default is open"},
		{"events", "consumer normalize is missing: arauto topology apply"},
		{"events", "sandbox/default: " + address + " cannot be reached"},
		{"payments", "1 open dead letters of class provider"},
		{"soon", "the gateway's certificate ends at "},
		{"soon", "stream DEAD_LETTERS: max_age "},
	} {
		if !slices.ContainsFunc(found, func(f finding) bool { return f.Danger == want.Danger && strings.Contains(f.What, want.What) }) {
			t.Errorf("not found: %v", want)
		}
	}
	levels := []string{"webhooks", "events", "payments", "soon"}
	if !slices.IsSortedFunc(found, func(a, b finding) int { return slices.Index(levels, a.Danger) - slices.Index(levels, b.Danger) }) || t.Failed() {
		t.Errorf("found %+v", found)
	}
}

func TestDoctorSaysThatTheBrokerDoesNotAnswer(t *testing.T) {
	t.Parallel()
	r := idle(t)
	r.Server.Shutdown()
	if found := r.findings(ExitPartly); len(found) == 0 || found[0].Danger != "webhooks" || !strings.Contains(found[0].What, "the broker does not answer") {
		t.Errorf("found %+v", found)
	}
}
