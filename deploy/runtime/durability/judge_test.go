package durability_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/durability"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/providers"
)

const (
	killed = durability.ProcessKill
	power  = durability.ProcessKill | durability.PowerLoss
	node   = durability.ProcessKill | durability.NodeLoss
	all    = durability.ProcessKill | durability.PowerLoss | durability.NodeLoss
)

// best are facts that leave nothing to wish for.
func best() durability.Facts {
	f := durability.Facts{
		Sync: durability.Always, Replicas: 3, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
		Messages: 10, Bytes: 1000, MaxBytes: 1 << 20,
	}
	for _, name := range []string{"n1", "n2", "n3"} {
		f.Servers = append(f.Servers, durability.Server{Name: name, Sync: durability.Always, StoreUsed: 1, StoreLimit: 1 << 30})
	}
	return f
}

func TestEachWeakenedSettingCostsWhatItMayLose(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		weaken  func(*durability.Facts)
		claim   durability.Claim
		setting string // The one that is named, "" for none.
		says    string // In the sentence.
	}{
		"nothing":           {func(*durability.Facts) {}, all, "", "survives the end of any process, a power cut of all machines at once and the loss of 1 of the 3 nodes."},
		"five replicas":     {func(f *durability.Facts) { f.Replicas = 5 }, all, "", "the loss of 2 of the 5 nodes."},
		"old enough":        {func(f *durability.Facts) { f.MaxAge = durability.Span(durability.Horizon) }, all, "", "power cut"},
		"one replica":       {func(f *durability.Facts) { f.Replicas = 1 }, power, "replicas", "and a power cut of the machine, but not the loss of its disk."},
		"two replicas":      {func(f *durability.Facts) { f.Replicas = 2 }, power, "replicas", "but not the loss of its disk."},
		"lazy":              {func(f *durability.Facts) { f.Sync = durability.Lazily }, node, "sync_interval", "but not a power cut of several machines at once."},
		"unseen":            {func(f *durability.Facts) { f.Sync = durability.Unseen }, node, "sync_interval", "as far as can be seen."},
		"asynchronous":      {func(f *durability.Facts) { f.Persist = jetstream.AsyncPersistMode }, 0, "persist_mode", "means little"},
		"memory":            {func(f *durability.Facts) { f.Storage = jetstream.MemoryStorage }, 0, "storage", "means little"},
		"drops the old":     {func(f *durability.Facts) { f.Discard = jetstream.DiscardOld }, 0, "discard", "means little"},
		"expires":           {func(f *durability.Facts) { f.MaxAge = durability.Span(time.Hour) }, 0, "max_age", "means little"},
		"expires early":     {func(f *durability.Facts) { f.MaxAge = durability.Span(durability.Horizon - 1) }, 0, "max_age", "means little"},
		"interest":          {func(f *durability.Facts) { f.Retention = jetstream.InterestPolicy }, 0, "retention", "means little"},
		"per subject":       {func(f *durability.Facts) { f.PerSubject = 1 }, 0, "max_msgs_per_subject", "means little"},
		"nearly full":       {func(f *durability.Facts) { f.Bytes = uint64(f.MaxBytes) / 100 * 81 }, all, "fill", "power cut"},
		"without a limit":   {func(f *durability.Facts) { f.Bytes, f.MaxBytes = 1<<40, -1 }, all, "", "power cut"},
		"store nearly full": {func(f *durability.Facts) { f.Servers[2].StoreUsed = 1 << 30 }, all, "store", "power cut"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := best()
			c.weaken(&f)
			v := durability.Judge(f)
			if v.Claim != c.claim {
				t.Errorf("claim is %v, want %v", v.Claim, c.claim)
			}
			if !strings.Contains(v.Sentence, c.says) {
				t.Errorf("sentence lacks %q: %s", c.says, v.Sentence)
			}
			var named []string
			for _, w := range v.Weak {
				named = append(named, w.Setting)
				if w.Have == "" || w.Why == "" || w.Remedy == "" {
					t.Errorf("it does not say what to do: %+v", w)
				}
			}
			if got := strings.Join(named, " "); got != c.setting {
				t.Errorf("weak settings are %q, want %q", got, c.setting)
			}
		})
	}
}

func TestLazySingleServerSurvivesAKillOnly(t *testing.T) {
	t.Parallel()
	f := best()
	f.Replicas, f.Sync = 1, durability.Lazily
	f.Servers = []durability.Server{{Name: "n1", Sync: durability.Lazily, Interval: durability.Span(2 * time.Minute)}}
	v := durability.Judge(f)
	const want = "A 200 means that the notification survives the end of any process, but not a power cut of the machine nor the loss of its disk."
	if v.Claim != killed || v.Sentence != want {
		t.Errorf("claim %v: %s", v.Claim, v.Sentence)
	}
	if len(v.Weak) != 2 || v.Weak[0].Have != "2m0s on n1" {
		t.Errorf("weak are %v", v.Weak)
	}
}

func TestClaimsAreReadAndWritten(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]durability.Claim{
		"process-kill": killed, "power-loss": power, "node-loss": node, "power-loss,node-loss": all,
	} {
		got, err := durability.Parse(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q is read as %v, %v", text, got, err)
		}
		if written, err := got.MarshalText(); err != nil || string(written) != text {
			t.Errorf("%q is written as %s, %v", text, written, err)
		}
	}
	if got, err := durability.Parse(" node-loss , power-loss,process-kill"); err != nil || got != all {
		t.Errorf("with spaces: %v, %v", got, err)
	}
	if got, err := durability.Parse(""); err != nil || got != 0 || got.String() != "none" {
		t.Errorf("nothing is read as %v, %v", got, err)
	}
	for _, bad := range []string{"none", "fsync", "power-loss,", "power-loss node-loss"} {
		if got, err := durability.Parse(bad); err == nil {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
	if power.Covers(node) || node.Covers(power) || !all.Covers(power) || !power.Covers(killed) || !power.Covers(0) {
		t.Error("claims cover what they must not, or the other way around")
	}
}

func TestHorizonIsLongerThanLookupsAreRepeated(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"default", "yapay"} {
		policy, err := providers.All.RetryPolicy(name)
		testbench.Must(t, err)
		last := policy.Offsets[len(policy.Offsets)-1]
		if late := time.Duration(float64(last) * (1 + policy.Jitter)); late > durability.Horizon {
			t.Errorf("policy %s ends after %v, and the stream may drop notifications after %v", name, last, durability.Horizon)
		}
	}
}
