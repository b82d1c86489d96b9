package conformance_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"arauto/deploy/runtime/testbench"
)

// TestRealRolesNeedExactlyTheirPermissions runs the real code of every role
// under its user of nats.conf. A grant that is missing fails it through the
// broker's refusal; a grant that nobody used fails it at the end.
func TestRealRolesNeedExactlyTheirPermissions(t *testing.T) {
	t.Parallel()
	published, subscribed := map[string][]string{}, map[string][]string{}
	for _, format := range []struct {
		name string
		v2   bool
	}{{"acknowledgements of today", false}, {"acknowledgements of the next format", true}} {
		t.Run(format.name, func(t *testing.T) { // One after the other: what both used is added up.
			b := start(t, func(o *server.Options) {
				o.FeatureFlags = map[string]bool{server.FeatureFlagJsAckFormatV2: format.v2}
			})
			f := newFlow(t, b)
			f.play()
			f.expect(b)
			f.sweep(b)
			f.operate(b)
			f.letServicesSubscribe(b)
			f.removeParked(b)
			f.monitor(b)
			shown := f.show(b)
			f.forget(b)
			shown()
			for _, role := range roles {
				p, s := b.used(role)
				published[role], subscribed[role] = append(published[role], p...), append(subscribed[role], s...)
			}
		})
	}
	held := backUp(t)
	for _, role := range []string{"backup", "operator"} {
		p, s := held.used(role)
		published[role], subscribed[role] = append(published[role], p...), append(subscribed[role], s...)
	}
	for role, granted := range grants(t) {
		for _, pattern := range granted.publish {
			if !strings.HasPrefix(pattern, directReads) && !slices.ContainsFunc(published[role], func(s string) bool { return covers(pattern, s) }) {
				t.Errorf("%s may publish to %s, but its code does not need it", role, pattern)
			}
		}
		for _, pattern := range granted.subscribe {
			if !slices.ContainsFunc(subscribed[role], func(s string) bool { return covers(pattern, s) }) {
				t.Errorf("%s may subscribe to %s, but its code does not need it", role, pattern)
			}
		}
	}
}

// directReads begins the grants that only a later version needs, whose streams may be read directly:
// a client of this version then does so too, after a rollback. They are used, and this goes, once
// make upgrade starts from a version that has them.
const directReads = "$JS.API.DIRECT.GET."

type allowed struct{ publish, subscribe []string }

// grants reads what the configuration allows each role.
func grants(t *testing.T) map[string]allowed {
	t.Helper()
	options, err := server.ProcessConfigFile(natsConf)
	testbench.Must(t, err)
	all := map[string]allowed{}
	for _, u := range options.Users {
		if u.Permissions == nil || u.Permissions.Publish == nil || u.Permissions.Subscribe == nil {
			t.Errorf("user %s has no list of what it may publish and subscribe to", u.Username)
			continue
		}
		all[u.Username] = allowed{publish: u.Permissions.Publish.Allow, subscribe: u.Permissions.Subscribe.Allow}
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	if !slices.Equal(names, roles) {
		t.Errorf("nats.conf has the users %v, the tests know %v", names, roles)
	}
	return all
}

// covers reports whether a permission covers a subject or a narrower pattern.
func covers(pattern, given string) bool {
	have, want := strings.Split(pattern, "."), strings.Split(given, ".")
	for i, token := range have {
		if token == ">" {
			return len(want) > i
		}
		if i >= len(want) || token != "*" && token != want[i] {
			return false
		}
	}
	return len(have) == len(want)
}
