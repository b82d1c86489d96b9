package operator

import (
	"os"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
)

func TestApplyRefusesToShrinkAStreamBelowWhatItFills(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, providers.All.Names()...)
	ctx := testbench.Context(t)
	for range 50 { // Of AUDIT 3 and of ADVISORIES 1 percent.
		if _, err := b.JS.Publish(ctx, "audit.x", make([]byte, 1<<16)); err != nil {
			t.Fatal(err)
		}
	}
	path := configure(t, b.URL)
	text, err := os.ReadFile(path)
	testbench.Must(t, err)
	apply := func(store string, want int, flags ...string) string {
		t.Helper()
		testbench.Must(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "1GiB", store)), 0o600))
		code, out, problems := arauto(t, append([]string{"topology", "apply", "--config", path}, flags...)...)
		if code != want {
			t.Fatalf("with a store of %s: code %d, output %q, problems %q", store, code, out, problems)
		}
		return out + problems
	}
	holds := func() uint64 {
		t.Helper()
		stream, err := b.JS.Stream(ctx, subject.Audit)
		testbench.Must(t, err)
		return stream.CachedInfo().State.Msgs
	}

	said := apply("64MiB", ExitRefused)
	before, enough, ok := strings.Cut(strings.TrimSuffix(said, " or more, or take the loss with --shrink\n"), "; write ")
	if !ok || holds() != 50 || strings.Count(said, "\n") != 1 ||
		!strings.HasPrefix(before, path+":6: topology.store: leaves stream AUDIT 2013264B, but it fills ") || !strings.HasSuffix(before, ", so the oldest messages would be removed") {
		t.Errorf("with %d messages left it says\n%s", holds(), said)
	}
	if said := apply(enough, ExitDone); !strings.Contains(said, "mended: stream AUDIT: max_bytes ") || holds() != 50 {
		t.Errorf("what was said to be enough leaves %d messages:\n%s", holds(), said)
	}
	if said := apply("64MiB", ExitDone, "--shrink"); !strings.Contains(said, "mended: stream AUDIT: max_bytes ") || holds() == 50 {
		t.Errorf("told to shrink it leaves %d messages:\n%s", holds(), said)
	}
}

// An embedded broker alone has no replicas to take; deploy/tests/conformance has a cluster.
func TestShrinkingIsSaidInTheWordsOfTheFile(t *testing.T) {
	t.Parallel()
	for want, one := range map[string]topology.Shrinking{
		"leaves stream ORDERS 1 replicas, but it has 3, so that is lost; write 3, or take the loss with --shrink": {
			Stream: "ORDERS", Setting: topology.Replicas, Has: 3, Gets: 1, Enough: 3, Loss: "that is lost",
		},
		"leaves stream ORDERS 16MiB, but it fills 17825793B, so that is lost; write 69MiB or more, or take the loss with --shrink": {
			Stream: "ORDERS", Setting: topology.Store, Has: 17<<20 + 1, Gets: 16 << 20, Enough: 68<<20 + 4, Loss: "that is lost",
		},
	} {
		if got := shrinking(one, one.Enough); got != want {
			t.Errorf("it says\n%s\nwant\n%s", got, want)
		}
	}
}
