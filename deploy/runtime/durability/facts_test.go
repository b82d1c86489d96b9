package durability_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/durability"
)

func TestFactsAreSaidInTwoLines(t *testing.T) {
	t.Parallel()
	strong := best()
	strong.Version, strong.Bytes = "2.15.2", 1<<19
	weak := durability.Facts{
		Version: "2.15.2", Sync: durability.Lazily, Replicas: 1, Storage: jetstream.MemoryStorage, Persist: jetstream.AsyncPersistMode,
		Discard: jetstream.DiscardOld, MaxAge: durability.Span(time.Hour), Bytes: 1000, MaxBytes: -1,
		Servers: []durability.Server{
			{Name: "n1", Sync: durability.Lazily, Interval: durability.Span(2 * time.Minute)}, {Name: "n2", Sync: durability.Unseen},
			{Name: "n3", Sync: durability.Always, Offline: true},
		},
	}
	for name, c := range map[string]struct {
		facts durability.Facts
		want  string
	}{
		"strong": {strong, "broker: nats-server 2.15.2, sync_interval always on n1, always on n2, always on n3\n" +
			"NOTIFICATIONS: replicas 3, storage file, persist_mode default, discard new, max_age none (look-ups need 96h0m0s), 50 % of 1048576 bytes full"},
		"weak": {weak, "broker: nats-server 2.15.2, sync_interval 2m0s on n1, unknown on n2, n3 is offline\n" +
			"NOTIFICATIONS: replicas 1, storage memory, persist_mode async, discard old, max_age 1h0m0s (look-ups need 96h0m0s), 1000 bytes without a limit"},
		"none": {durability.Facts{}, "broker: nats-server of unknown version, sync_interval unknown\n" +
			"NOTIFICATIONS: replicas 0, storage file, persist_mode default, discard old, max_age none (look-ups need 96h0m0s), 0 bytes without a limit"},
	} {
		if got := strings.Join(c.facts.Lines(), "\n"); got != c.want {
			t.Errorf("%s is said as\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestClaimIsUnverifiedWhereOnlySightIsMissing(t *testing.T) {
	t.Parallel()
	facts := func(change func(*durability.Facts)) *durability.Facts {
		f := best()
		change(&f)
		return &f
	}
	unseen := func(f *durability.Facts) { f.Sync = durability.Unseen }
	for name, c := range map[string]struct {
		claimed durability.Claim
		facts   *durability.Facts
		want    bool
	}{
		"nothing claimed, nothing seen":   {0, nil, false},
		"claimed, nothing seen":           {power, nil, true},
		"the policy is unseen":            {power, facts(unseen), true},
		"the policy is unseen, no matter": {node, facts(unseen), false},
		"the policy is lazy":              {power, facts(func(f *durability.Facts) { f.Sync = durability.Lazily }), false},
		"it holds":                        {all, facts(func(*durability.Facts) {}), false},
		"unseen and no replicas":          {all, facts(func(f *durability.Facts) { unseen(f); f.Replicas = 1 }), false},
		"unseen and in memory":            {power, facts(func(f *durability.Facts) { unseen(f); f.Storage = jetstream.MemoryStorage }), false},
	} {
		r := durability.Report{Claimed: c.claimed, Holds: c.claimed == 0, Facts: c.facts}
		if c.facts != nil {
			r.Verdict = durability.Judge(*c.facts)
			r.Holds = r.Claim.Covers(c.claimed)
		}
		if got := r.Unverified(); got != c.want {
			t.Errorf("%s: unverified is %v, want %v", name, got, c.want)
		}
	}
}
