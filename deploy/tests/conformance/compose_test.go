package conformance_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// compose is compose.yaml as far as we use the format. Another key fails the
// parse, so that a misspelt one is not ignored in silence.
type compose struct {
	Name     string             `yaml:"name"`
	Bounded  map[string]any     `yaml:"x-bounded"`
	Build    map[string]any     `yaml:"x-build"`
	Services map[string]service `yaml:"services"`
	Networks map[string]network `yaml:"networks"`
	Volumes  map[string]any     `yaml:"volumes"`
}

type service struct {
	Image       string               `yaml:"image"`
	Build       build                `yaml:"build"`
	Entrypoint  []string             `yaml:"entrypoint"`
	Command     []string             `yaml:"command"`
	User        string               `yaml:"user"`
	Environment map[string]string    `yaml:"environment"`
	EnvFile     []string             `yaml:"env_file"`
	Volumes     []string             `yaml:"volumes"`
	Tmpfs       []string             `yaml:"tmpfs"`
	Ports       []string             `yaml:"ports"`
	Networks    []string             `yaml:"networks"`
	NetworkMode string               `yaml:"network_mode"`
	DependsOn   map[string]condition `yaml:"depends_on"`
	Healthcheck *healthcheck         `yaml:"healthcheck"`
	Restart     string               `yaml:"restart"`
	Stop        string               `yaml:"stop_grace_period"`
	ReadOnly    bool                 `yaml:"read_only"`
	CapDrop     []string             `yaml:"cap_drop"`
	CapAdd      []string             `yaml:"cap_add"`
	Security    []string             `yaml:"security_opt"`
	Threads     int                  `yaml:"pids_limit"`
	CPUs        float64              `yaml:"cpus"`
	Memory      string               `yaml:"mem_limit"`
	Logging     logging              `yaml:"logging"`
}

type build struct {
	Context    string            `yaml:"context"`
	Dockerfile string            `yaml:"dockerfile"`
	Target     string            `yaml:"target"`
	Args       map[string]string `yaml:"args"`
}

type network struct {
	Internal bool `yaml:"internal"`
}

type logging struct {
	Driver  string            `yaml:"driver"`
	Options map[string]string `yaml:"options"`
}

type condition struct {
	Condition string `yaml:"condition"`
}

type healthcheck struct {
	Test     []string `yaml:"test"`
	Interval string   `yaml:"interval"`
	Timeout  string   `yaml:"timeout"`
	Retries  int      `yaml:"retries"`
}

func composeFile(t *testing.T) compose {
	t.Helper()
	var c compose
	d := yaml.NewDecoder(bytes.NewReader([]byte(read(t, "deploy/compose.yaml"))))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		t.Fatalf("parse compose.yaml: %v", err)
	}
	return c
}

// serviceOf is the service that runs an image target under another name.
var serviceOf = map[string]string{"arauto": "topology"}

// unserved are image targets that production does not run.
var unserved = map[string]string{"simulator": "it plays the providers, for demonstrations"}

func TestComposeRunsEveryProcess(t *testing.T) {
	t.Parallel()
	c := composeFile(t)
	want := []string{"nats", "store"}
	for _, target := range targets(t) {
		if unserved[target] != "" {
			continue
		}
		name := target
		if other := serviceOf[target]; other != "" {
			name = other
		}
		want = append(want, name)
		s := c.Services[name]
		if b := (build{Context: "..", Dockerfile: "deploy/Dockerfile", Target: target, Args: pinned}); !reflect.DeepEqual(s.Build, b) {
			t.Errorf("service %s is built from %+v, want %+v", name, s.Build, b)
		}
	}
	var got []string
	for name := range c.Services {
		got = append(got, name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("compose.yaml has the services %v, the Dockerfile and the folders ask for %v", got, want)
	}
}

// pinned hands the digest of the base image to every build.
var pinned = map[string]string{"GO_IMAGE_DIGEST": "${GO_IMAGE_DIGEST:-}"}

func TestComposeRunsTheBrokerThatTheTestsRun(t *testing.T) {
	t.Parallel()
	version := strings.TrimPrefix(moduleVersion(t, "github.com/nats-io/nats-server/v2"), "v")
	want := "nats:" + version + "-alpine${NATS_IMAGE_DIGEST:-}"
	for _, name := range []string{"nats", "store"} {
		if got := composeFile(t).Services[name].Image; got != want {
			t.Errorf("%s runs %s, go.mod tests against %s", name, got, want)
		}
	}
}

func TestNothingStartsBeforeItsStreamsExist(t *testing.T) {
	t.Parallel()
	for name, s := range composeFile(t).Services {
		switch name {
		case "store":
			continue
		case "nats":
			if s.DependsOn["store"].Condition != "service_completed_successfully" {
				t.Error("nats does not wait for the folders that it writes to")
			}
			if s.Healthcheck == nil || len(s.Healthcheck.Test) == 0 || s.Healthcheck.Retries == 0 {
				t.Error("nats has no health check to wait for")
			}
			continue
		case "topology":
		default:
			if got := s.DependsOn["topology"].Condition; got != "service_completed_successfully" {
				t.Errorf("%s waits for topology with the condition %q", name, got)
			}
		}
		if got := s.DependsOn["nats"].Condition; got != "service_healthy" {
			t.Errorf("%s waits for nats with the condition %q", name, got)
		}
	}
}

func TestOnlyTheGatewayIsReachedFromOutside(t *testing.T) {
	t.Parallel()
	published := map[string][]string{ // The console's only from this machine.
		"gateway": {"${GATEWAY_ADDRESS:-127.0.0.1}:${GATEWAY_PORT:-8080}:8080"}, "console": {"127.0.0.1:8070:8070"},
	}
	for name, s := range composeFile(t).Services {
		if !slices.Equal(s.Ports, published[name]) {
			t.Errorf("%s has the host ports %v, want %v", name, s.Ports, published[name])
		}
		if name == "gateway" && s.Environment["GATEWAY_LISTEN"] != "0.0.0.0:8080" {
			t.Errorf("gateway listens on %s", s.Environment["GATEWAY_LISTEN"])
		}
	}
}

func TestProcessesStartAgainAndStopInTime(t *testing.T) {
	t.Parallel()
	for name, s := range composeFile(t).Services {
		if s.Restart == "" {
			t.Errorf("%s is not started again", name)
		}
		if name != "topology" && name != "store" && s.Stop == "" {
			t.Errorf("%s has the default grace of ten seconds, shorter than its stop may take", name)
		}
	}
}

func TestComposeMountsWhatExists(t *testing.T) {
	t.Parallel()
	c := composeFile(t)
	for name, s := range c.Services {
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if source == "./arauto.yaml" { // Made by the operator.
				source = "./arauto.example.yaml"
			}
			if _, named := c.Volumes[source]; named {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, "deploy", source)); err != nil {
				t.Errorf("%s mounts %s: %v", name, v, err)
			}
		}
	}
}
