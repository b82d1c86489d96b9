package chart_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// roles are the binaries that the chart keeps running unless values say otherwise.
var roles = []string{"expect", "gateway", "lookup", "normalize", "sweep"}

// rolesOf are those of a values file: production has the console too.
func rolesOf(name string) []string {
	if name == "production" {
		return append([]string{"console"}, roles...)
	}
	return roles
}

// pods are the pods of all Deployments and of the Job, by the id of what makes them.
func pods(objects map[string]manifest) map[string]manifest {
	all := map[string]manifest{}
	for id, m := range objects {
		if spec, ok := m.at("spec", "template", "spec").(map[string]any); ok {
			all[id] = manifest{tree: spec}
		}
	}
	return all
}

func TestEveryRoleHasAllOfItsObjects(t *testing.T) {
	t.Parallel()
	for _, name := range valueFiles {
		objects := rendered(t, name)
		if deployed := len(pods(objects)); deployed != len(rolesOf(name))+1 {
			t.Errorf("%s has %d pods", name, deployed)
		}
		for _, role := range rolesOf(name) {
			for _, kind := range []string{"Deployment", "PodDisruptionBudget", "NetworkPolicy"} {
				id := kind + "/arauto-" + role
				m, ok := objects[id]
				if !ok {
					t.Errorf("%s has no %s", name, id)
					continue
				}
				selector := m.at("spec", "selector", "matchLabels")
				if kind == "NetworkPolicy" {
					selector = m.at("spec", "podSelector", "matchLabels")
				}
				labels, _ := objects["Deployment/arauto-"+role].at("spec", "template", "metadata", "labels").(map[string]any)
				wanted, _ := selector.(map[string]any)
				for key, value := range wanted {
					if labels[key] != value {
						t.Errorf("%s of %s selects %s=%v, the pods have %v", id, name, key, value, labels[key])
					}
				}
				if len(wanted) != 3 || wanted["app.kubernetes.io/component"] != role {
					t.Errorf("%s of %s selects %v", id, name, wanted)
				}
			}
		}
	}
}

func TestPodsHaveNoRights(t *testing.T) {
	t.Parallel()
	for _, name := range valueFiles {
		for id, pod := range pods(rendered(t, name)) {
			container := manifest{tree: pod.at("containers", 0).(map[string]any)}
			for what, ok := range map[string]bool{
				"another user than 65532": pod.at("securityContext", "runAsUser") == 65532.0 && pod.at("securityContext", "runAsNonRoot") == true,
				"system calls at will":    pod.at("securityContext", "seccompProfile", "type") == "RuntimeDefault",
				"a token of Kubernetes":   pod.at("automountServiceAccountToken") == false,
				"variables of Services":   pod.at("enableServiceLinks") == false,
				"a root that it may write to": container.at("securityContext", "readOnlyRootFilesystem") == true &&
					container.at("securityContext", "allowPrivilegeEscalation") == false,
				"capabilities":        fmt.Sprint(container.at("securityContext", "capabilities", "drop")) == "[ALL]",
				"no bound of memory":  container.at("resources", "limits", "memory") != nil && container.at("resources", "requests", "cpu") != nil,
				"a second container":  pod.at("containers", 1) == nil && pod.at("initContainers") == nil,
				"the network of node": pod.at("hostNetwork") == nil && pod.at("hostPID") == nil,
			} {
				if !ok {
					t.Errorf("%s: %s has %s", name, id, what)
				}
			}
			mounts, _ := container.at("volumeMounts").([]any)
			for i := range mounts {
				if index := container.at("name") == "console" && container.at("volumeMounts", i, "mountPath") == "/var/lib/arauto-console"; container.at("volumeMounts", i, "readOnly") != true && !index {
					t.Errorf("%s: %s may write to %v", name, id, container.at("volumeMounts", i, "mountPath"))
				}
			}
		}
	}
}

// TestAdminPortsAreClosed wants no Service and no rule for the admin port unless the
// values name who may reach it.
func TestAdminPortsAreClosed(t *testing.T) {
	t.Parallel()
	admin := regexp.MustCompile(`\b9090\b`)
	for name, open := range map[string][]string{"minimal": nil, "production": rolesOf("production")} {
		var opened []string
		for id, m := range rendered(t, name) {
			kind, role, _ := strings.Cut(id, "/arauto-")
			switch kind {
			case "NetworkPolicy":
				rules, _ := m.at("spec", "ingress").([]any)
				for i := range rules {
					if admin.MatchString(fmt.Sprint(m.at("spec", "ingress", i, "ports"))) {
						if from, _ := m.at("spec", "ingress", i, "from").([]any); len(from) == 0 {
							t.Errorf("%s: %s opens the admin port to everyone", name, id)
						}
						opened = append(opened, role)
					}
				}
				if types := fmt.Sprint(m.at("spec", "policyTypes")); types != "[Ingress Egress]" {
					t.Errorf("%s: %s is for %s", name, id, types)
				}
			case "Service":
				if port := map[string]string{"gateway": "webhooks", "console": "pages"}[role]; port == "" || m.at("spec", "ports", 1) != nil || m.at("spec", "ports", 0, "targetPort") != port {
					t.Errorf("%s: there is the %s", name, id)
				}
			}
		}
		if slices.Sort(opened); !slices.Equal(opened, open) {
			t.Errorf("%s opens the admin ports of %v, want %v", name, opened, open)
		}
	}
}

// TestPodsReachOnlyWhatTheyNeed holds the egress of each pod to the broker and to names, but for
// the ports of providers, and of the collector of spans where there is one.
func TestPodsReachOnlyWhatTheyNeed(t *testing.T) {
	t.Parallel()
	for name, collector := range map[string][]string{"minimal": nil, "tracing": {"4318 monitoring"}} {
		for id, m := range rendered(t, name) {
			if !strings.HasPrefix(id, "NetworkPolicy/") {
				continue
			}
			var reached []string
			rules, _ := m.at("spec", "egress").([]any)
			for i := range rules {
				peer, _ := m.at("spec", "egress", i, "to", 0, "namespaceSelector", "matchLabels", "kubernetes.io/metadata.name").(string)
				list, _ := m.at("spec", "egress", i, "ports").([]any)
				for j := range list {
					reached = append(reached, strings.TrimSpace(fmt.Sprint(m.at("spec", "egress", i, "ports", j, "port"), " ", peer)))
				}
			}
			want := []string{"4222", "8222", "53", "53"}
			if id == "NetworkPolicy/arauto-lookup" {
				want = append(want, "443")
			}
			if id != "NetworkPolicy/arauto-topology" {
				want = append(want, collector...)
			}
			if !slices.Equal(reached, want) {
				t.Errorf("%s: %s reaches %v, want %v", name, id, reached, want)
			}
		}
	}
}

// TestTopologyIsThereBeforeTheRoles wants hooks: Helm runs them before it makes the rest.
func TestTopologyIsThereBeforeTheRoles(t *testing.T) {
	t.Parallel()
	for _, name := range valueFiles {
		weights := map[string]any{}
		for id, m := range rendered(t, name) {
			hook := m.at("metadata", "annotations", "helm.sh/hook")
			if topology := strings.HasSuffix(id, "/arauto-topology"); topology != (hook == "pre-install,pre-upgrade") {
				t.Errorf("%s: %s is the hook %v", name, id, hook)
			} else if topology {
				weights[id] = m.at("metadata", "annotations", "helm.sh/hook-weight")
			}
		}
		if len(weights) != 3 || weights["Job/arauto-topology"] != nil || weights["ConfigMap/arauto-topology"] != "-10" || weights["NetworkPolicy/arauto-topology"] != "-10" {
			t.Errorf("%s: the hooks have the weights %v", name, weights)
		}
	}
}

// TestSecretsAreOnlyNamed wants each variable with a secret to come from a Secret.
func TestSecretsAreOnlyNamed(t *testing.T) {
	t.Parallel()
	secret := regexp.MustCompile(`PASSWORD|KEY|TOKEN|SECRET`)
	for _, name := range valueFiles {
		objects := rendered(t, name)
		for id, m := range objects {
			if strings.HasPrefix(id, "Secret/") {
				t.Errorf("%s makes the %s of %s", name, id, m.text)
			}
		}
		found := 0
		for id, pod := range pods(objects) {
			env, _ := pod.at("containers", 0, "env").([]any)
			for i := range env {
				variable := pod.at("containers", 0, "env", i, "name").(string)
				if !secret.MatchString(variable) {
					continue
				}
				if found++; pod.at("containers", 0, "env", i, "value") != nil || pod.at("containers", 0, "env", i, "valueFrom", "secretKeyRef", "key") == nil {
					t.Errorf("%s: %s has %s as it stands", name, id, variable)
				}
			}
		}
		if found != 2*len(rolesOf(name))+1 {
			t.Errorf("%s: %d variables with secrets were found", name, found)
		}
	}
}

func TestRolesHaveTheirSecretsAndNoOthers(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"Deployment/arauto-gateway": "arauto-gateway arauto-gateway-files arauto-gateway-tls", "Deployment/arauto-lookup": "arauto-lookup arauto-lookup-files",
		"Deployment/arauto-normalize": "arauto-ca", "Deployment/arauto-sweep": "arauto-ca", "Deployment/arauto-expect": "arauto-expect arauto-ca",
		"Deployment/arauto-console": "arauto-console arauto-ca", "Job/arauto-topology": "arauto-ca",
	}
	for id, pod := range pods(rendered(t, "production")) {
		var named []string
		for _, m := range regexp.MustCompile(`(?:secretRef:map\[name:|secretName:)([a-z-]+)`).FindAllStringSubmatch(fmt.Sprint(pod.tree), -1) {
			named = append(named, m[1])
		}
		if slices.Sort(named); strings.Join(named, " ") != strings.Join(slices.Sorted(slices.Values(strings.Fields(want[id]))), " ") {
			t.Errorf("%s has the Secrets %v, want %s", id, named, want[id])
		}
	}
}

// TestIndexOfTheConsoleIsKeptOnAClaim wants a claim to be used where values name one, and one pod
// at a time.
func TestIndexOfTheConsoleIsKeptOnAClaim(t *testing.T) {
	t.Parallel()
	given := values(t, "production")
	for _, claim := range []string{"arauto-console-index", ""} {
		merge(given, map[string]any{"roles": map[string]any{"console": map[string]any{"claim": claim}}})
		m := mustRender(t, given)["Deployment/arauto-console"]
		pod := manifest{tree: m.at("spec", "template", "spec").(map[string]any)}
		var found []any
		volumes, _ := pod.at("volumes").([]any)
		for i := range volumes {
			if pod.at("volumes", i, "name") == "index" {
				found = append(found, pod.at("volumes", i, "persistentVolumeClaim", "claimName"), pod.at("volumes", i, "emptyDir") != nil)
			}
		}
		want := []any{any(claim), false}
		if claim == "" {
			want = []any{nil, true}
		}
		if !slices.Equal(found, want) || m.at("spec", "replicas") != 1.0 || m.at("spec", "strategy", "type") != "Recreate" || pod.at("securityContext", "fsGroup") != 65532.0 {
			t.Errorf("with the claim %q the console is\n%s", claim, m.text)
		}
	}
}

// TestImagesAreNamed holds the precedence of digest, the role's tag and the tag of all.
func TestImagesAreNamed(t *testing.T) {
	t.Parallel()
	given := values(t, "production")
	merge(given, parse(t, `{image: {tag: "2"}, roles: {lookup: {tag: "1"}}}`))
	for id, want := range map[string]string{
		"Deployment/arauto-gateway": "arauto/gateway@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		"Deployment/arauto-lookup":  "arauto/lookup:1", "Deployment/arauto-sweep": "arauto/sweep:2", "Job/arauto-topology": "arauto/arauto:2",
	} {
		if got := mustRender(t, given)[id].at("spec", "template", "spec", "containers", 0, "image"); got != "registry.example.com/payments/"+want {
			t.Errorf("%s runs %v", id, got)
		}
	}
}
