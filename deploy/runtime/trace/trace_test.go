package trace_test

import (
	"strings"
	"testing"

	"arauto/deploy/runtime/trace"
)

func TestNewTracesAreValidAndDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		made := trace.New()
		if !trace.Valid(made) || !strings.HasSuffix(made, "-01") || seen[made] {
			t.Fatalf("%q", made)
		}
		seen[made] = true
	}
}

func TestOnlyTheStandardsFormIsValid(t *testing.T) {
	t.Parallel()
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	if !trace.Valid(good) {
		t.Errorf("%q is refused", good)
	}
	for _, bad := range []string{
		"", "00", good + "-00", "01" + good[2:], strings.ToUpper(good), good[:len(good)-1], good + "0",
		"00-" + strings.Repeat("0", 32) + good[35:], good[:36] + strings.Repeat("0", 16) + "-00",
		strings.Replace(good, "a", "g", 1), strings.Replace(good, "-", "_", 1),
	} {
		if trace.Valid(bad) {
			t.Errorf("%q is taken", bad)
		}
	}
}
