package conformance_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"arauto/deploy/runtime/config"
	"arauto/schemas/providers"
)

// TestContainersHaveNoRights looks at every service of compose.yaml. The roles'
// images have their own user: TestImagesRunWithoutRights.
func TestContainersHaveNoRights(t *testing.T) {
	t.Parallel()
	services := composeFile(t).Services
	if given := " chown -R " + services["nats"].User + " /data"; !strings.HasSuffix(services["store"].Command[0], given) {
		t.Errorf("store does not give the volume to nats: %s", services["store"].Command[0])
	}
	for name, s := range services {
		if !s.ReadOnly {
			t.Errorf("%s may write to its image", name)
		}
		if !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Equal(s.Security, []string{"no-new-privileges:true"}) {
			t.Errorf("%s keeps the capabilities but %v, with the security options %v", name, s.CapDrop, s.Security)
		}
		user, added, mode := "", []string(nil), ""
		switch name {
		case "nats":
			user = "65532:65532"
		case "store": // It gives a folder of root to the broker's user, and does nothing else.
			user, added, mode = "0:0", []string{"CHOWN", "DAC_OVERRIDE"}, "none"
		}
		if s.User != user || !slices.Equal(s.CapAdd, added) || s.NetworkMode != mode {
			t.Errorf("%s runs as %q with the capabilities %v and the network mode %q", name, s.User, s.CapAdd, s.NetworkMode)
		}
	}
}

func TestContainersAreBounded(t *testing.T) {
	t.Parallel()
	size := regexp.MustCompile(`^[1-9]\d*[mg]$`)
	for name, s := range composeFile(t).Services {
		if s.CPUs <= 0 || s.CPUs > 2 { // Docker refuses more than the machine has.
			t.Errorf("%s may take %v processors", name, s.CPUs)
		}
		if !size.MatchString(s.Memory) {
			t.Errorf("%s may take the memory %q", name, s.Memory)
		}
		if s.Threads < 100 || s.Threads > 4096 {
			t.Errorf("%s may have %d threads", name, s.Threads)
		}
		options := s.Logging.Options
		if s.Logging.Driver != "json-file" || !size.MatchString(options["max-size"]) || !regexp.MustCompile(`^[1-9]$`).MatchString(options["max-file"]) {
			t.Errorf("the log of %s grows: %+v", name, s.Logging)
		}
	}
}

// TestBrokerHasANetworkOfItsOwn holds what nats.plaintext claims in compose.yaml:
// only the broker's clients are on its network, which leads nowhere else.
func TestBrokerHasANetworkOfItsOwn(t *testing.T) {
	t.Parallel()
	c := composeFile(t)
	want := map[string][]string{
		"nats":      {"broker"},
		"topology":  {"broker"},
		"gateway":   {"broker", "admin", "front"},
		"lookup":    {"broker", "admin", "egress"},
		"normalize": {"broker", "admin"},
		"sweep":     {"broker", "admin"},
		"expect":    {"broker", "admin"},
		"console":   {"broker", "admin", "front"},
		"store":     nil,
	}
	for name, s := range c.Services {
		if networks, known := want[name]; !known || !slices.Equal(s.Networks, networks) {
			t.Errorf("%s is on the networks %v, want %v", name, s.Networks, networks)
		}
		if claims := s.Environment["NATS_PLAINTEXT"] == "private-network"; claims != (name != "nats" && name != "store") {
			t.Errorf("%s sends its password in plain text: %v", name, claims)
		}
	}
	for name, n := range c.Networks {
		if internal := name == "broker" || name == "admin"; n.Internal != internal {
			t.Errorf("the network %s is internal: %v", name, n.Internal)
		}
	}
	if got := slices.Sorted(maps.Keys(c.Networks)); !slices.Equal(got, []string{"admin", "broker", "egress", "front"}) {
		t.Errorf("compose.yaml has the networks %v", got)
	}
}

// TestEverySecretOfWebhooksCanBeChanged wants a second, empty one beside each in the
// example, and the variables of both at the gateway.
func TestEverySecretOfWebhooksCanBeChanged(t *testing.T) {
	t.Parallel()
	if got := composeFile(t).Services["gateway"].EnvFile; !slices.Equal(got, []string{"gateway.env"}) {
		t.Errorf("compose.yaml gives the gateway the files %v", got)
	}
	variables := providerVariables(t, config.RoleGateway)
	lists := regexp.MustCompile(`(?m)^ *(?:webhook_secrets|path_keys): (.*)$`).FindAllStringSubmatch(exampleText(t), -1)
	if len(lists) != 2*len(providers.All) {
		t.Fatalf("%d lists of secrets were found", len(lists))
	}
	for _, list := range lists {
		name := braced.FindStringSubmatch(list[1])[1]
		if want := `["${` + name + `}", "${` + name + `_NEXT:-}"]`; list[1] != want {
			t.Errorf("the example has %s, want %s", list[1], want)
		}
		if !slices.Contains(variables, name) || !slices.Contains(variables, name+"_NEXT") {
			t.Errorf("gateway.env lacks %s or its second", name)
		}
	}
}
