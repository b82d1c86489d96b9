package access_test

import (
	"context"
	"errors"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"arauto/deploy/runtime/testbench"
	"arauto/workers/console/access"
)

func TestUnknownNameCostsAsMuchAsTheCostliest(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	if cost := g.access.DummyCost(); cost != bcrypt.MinCost {
		t.Errorf("the cost is %d", cost)
	}
	hash, err := access.HashWith(password, 6)
	testbench.Must(t, err)
	changed := g.settings
	changed.Users = map[string]access.User{"maria": {Hash: hash, Role: access.Reader}, "joao": g.settings.Users["joao"]}
	testbench.Must(t, g.access.Replace(changed))
	if cost := g.access.DummyCost(); cost != 6 {
		t.Errorf("the cost is %d with a costlier hash", cost)
	}
}

// TestFloodOfLoginsWaitsForOneCore: bcrypt must not take the processors from what the
// machine is for.
func TestFloodOfLoginsWaitsForOneCore(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	release := g.access.Occupy()
	ctx, cancel := context.WithCancel(testbench.Context(t))
	defer cancel()
	results := make(chan error, access.MostWaiting)
	for range access.MostWaiting {
		go func() {
			_, err := g.access.Check(ctx, g.settings.Users["maria"], password)
			results <- err
		}()
	}
	testbench.Until(t, "all wait", func() bool { return g.access.Waiting() == access.MostWaiting })
	got := g.browser(t).login("joao", password)
	want(t, "one more", got, 503, "Too many people")
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	cancel()
	for range access.MostWaiting {
		if err := <-results; !errors.Is(err, access.ErrBusy) {
			t.Errorf("a log-in that waited got %v", err)
		}
	}
	release()
	want(t, "after the flood", g.browser(t).login("joao", password), 303, "")
}
