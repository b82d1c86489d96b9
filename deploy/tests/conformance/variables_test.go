package conformance_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"arauto/deploy/runtime/config"
)

var (
	braced     = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)`)
	bare       = regexp.MustCompile(`(?m)^[^#"\n]*:\s*\$([A-Z][A-Z0-9_]*)`) // Subjects begin with $ too, inside quotes.
	documented = regexp.MustCompile(`(?m)^(?:# )?([A-Z][A-Z0-9_]*)=`)
)

// uses are the files that read variables, and how a variable looks there.
var uses = map[string]*regexp.Regexp{
	"deploy/compose.yaml":        braced,
	"deploy/Dockerfile":          braced,
	"deploy/arauto.example.yaml": braced,
	"deploy/nats.conf":           bare,
	"deploy/nats-cluster.conf":   bare,
}

func names(pattern *regexp.Regexp, text string) []string {
	found := map[string]bool{}
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		found[m[1]] = true
	}
	return slices.Sorted(maps.Keys(found))
}

func TestEveryVariableIsInTheOneList(t *testing.T) {
	t.Parallel()
	list := slices.Concat(names(documented, read(t, "deploy/.env.example")), providerVariables(t, config.RoleGateway), providerVariables(t, config.RoleLookup))
	used := map[string]bool{}
	for file, pattern := range uses {
		text := stripped(read(t, file))
		if file == "deploy/arauto.example.yaml" {
			text = stripped(exampleText(t))
		}
		found := names(pattern, text)
		if len(found) == 0 {
			t.Errorf("%s reads no variable; the pattern no longer fits", file)
		}
		for _, name := range found {
			if file == "deploy/Dockerfile" && name == "VERSION" {
				continue // An argument of one build, not of a deployment.
			}
			used[name] = true
			if !slices.Contains(list, name) {
				t.Errorf("%s reads %s, which .env.example does not list", file, name)
			}
		}
	}
	for _, name := range list {
		if !used[name] {
			t.Errorf(".env.example lists %s, which nothing reads", name)
		}
	}
}

// stripped is text without whole-line comments.
func stripped(text string) string {
	var kept []string
	for _, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

func TestTheListHoldsNoSecret(t *testing.T) {
	t.Parallel()
	plain := []string{"GATEWAY_PORT=8080", "GATEWAY_ADDRESS=127.0.0.1"}
	for line := range strings.Lines(read(t, "deploy/.env.example")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || strings.HasSuffix(line, "=") || slices.Contains(plain, line) {
			continue
		}
		t.Errorf(".env.example sets %q; a secret there would be used as it stands", line)
	}
}

func TestBrokerPasswordsComeFromTheEnvironment(t *testing.T) {
	t.Parallel()
	password := regexp.MustCompile(`(?m)^[^#\n]*password:\s*(\S+)`)
	for _, file := range []string{"deploy/nats.conf", "deploy/nats-cluster.conf"} {
		found := password.FindAllStringSubmatch(read(t, file), -1)
		if len(found) == 0 {
			t.Errorf("%s has no password", file)
		}
		for _, m := range found {
			if !strings.HasPrefix(m[1], "$NATS_") {
				t.Errorf("%s has the password %s instead of a variable", file, m[1])
			}
		}
	}
}

func TestComposeGivesTheBrokerEveryPassword(t *testing.T) {
	t.Parallel()
	given := slices.Sorted(maps.Keys(composeFile(t).Services["nats"].Environment))
	if want := names(bare, stripped(read(t, "deploy/nats.conf"))); !slices.Equal(given, want) {
		t.Errorf("compose.yaml gives nats %v, nats.conf reads %v", given, want)
	}
}
