package check_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// compose is compose.yaml as far as we use the format. Another key fails the
// parse, so that a misspelt one is not ignored in silence.
type compose struct {
	Name     string             `yaml:"name"`
	Services map[string]service `yaml:"services"`
	Volumes  map[string]any     `yaml:"volumes"`
}

type service struct {
	Image       string               `yaml:"image"`
	Build       build                `yaml:"build"`
	Command     []string             `yaml:"command"`
	Environment map[string]string    `yaml:"environment"`
	Volumes     []string             `yaml:"volumes"`
	Tmpfs       []string             `yaml:"tmpfs"`
	Ports       []string             `yaml:"ports"`
	DependsOn   map[string]condition `yaml:"depends_on"`
	Healthcheck *healthcheck         `yaml:"healthcheck"`
	Restart     string               `yaml:"restart"`
	Stop        string               `yaml:"stop_grace_period"`
	ReadOnly    bool                 `yaml:"read_only"`
	CapDrop     []string             `yaml:"cap_drop"`
	Security    []string             `yaml:"security_opt"`
}

type build struct {
	Context    string `yaml:"context"`
	Dockerfile string `yaml:"dockerfile"`
	Target     string `yaml:"target"`
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
	want := []string{"nats"}
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
		if b := (build{Context: "..", Dockerfile: "deploy/Dockerfile", Target: target}); s.Build != b {
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

func TestComposeRunsTheBrokerThatTheTestsRun(t *testing.T) {
	t.Parallel()
	version := strings.TrimPrefix(moduleVersion(t, "github.com/nats-io/nats-server/v2"), "v")
	if want, got := "nats:"+version+"-alpine", composeFile(t).Services["nats"].Image; got != want {
		t.Errorf("compose.yaml runs %s, go.mod tests against %s", got, want)
	}
}

func TestNothingStartsBeforeItsStreamsExist(t *testing.T) {
	t.Parallel()
	for name, s := range composeFile(t).Services {
		switch name {
		case "nats":
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
	for name, s := range composeFile(t).Services {
		if name == "gateway" {
			published := []string{"${GATEWAY_ADDRESS:-127.0.0.1}:${GATEWAY_PORT:-8080}:8080"}
			if !slices.Equal(s.Ports, published) || s.Environment["GATEWAY_LISTEN"] != "0.0.0.0:8080" {
				t.Errorf("gateway listens on %s and has the ports %v", s.Environment["GATEWAY_LISTEN"], s.Ports)
			}
		} else if len(s.Ports) != 0 {
			t.Errorf("%s has the host ports %v", name, s.Ports)
		}
	}
}

func TestProcessesRunWithoutRightsAndStopInTime(t *testing.T) {
	t.Parallel()
	for name, s := range composeFile(t).Services {
		if s.Restart == "" {
			t.Errorf("%s is not started again", name)
		}
		if name != "topology" && s.Stop == "" {
			t.Errorf("%s has the default grace of ten seconds, shorter than its stop may take", name)
		}
		if name == "nats" {
			continue
		}
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.Security, "no-new-privileges:true") {
			t.Errorf("%s has rights that it does not need", name)
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
			if _, err := os.Stat(filepath.Join("..", source)); err != nil {
				t.Errorf("%s mounts %s: %v", name, v, err)
			}
		}
	}
}
