package chart_test

import (
	"encoding/json"
	"flag"
	"os"
	"testing"
)

var writeQuery = flag.Bool("write", false, "write what the tests of deploy/watch and deploy/chart/keda take from here")

// readyQuery is the query of one provider, as the chart renders it. The tests of
// deploy/watch run it by the engine of Prometheus, which this module does not have.
const readyQuery = "queries/lookup-picpay.promql"

func TestLookupScalesOnTheQueryThatPrometheusRuns(t *testing.T) {
	t.Parallel()
	m := rendered(t, "keda-prometheus")["ScaledObject/arauto-lookup"]
	query, _ := m.at("spec", "triggers", 0, "metadata", "query").(string)
	keep(t, readyQuery, query+"\n")
	if other := m.at("spec", "triggers", 1, "metadata", "query"); other == query || other == nil || m.at("spec", "triggers", 2) != nil {
		t.Errorf("the second provider has the query %v", other)
	}
}

// keep holds a file to what is rendered, and with -write writes it.
func keep(t *testing.T, file, text string) {
	t.Helper()
	if *writeQuery {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if had, err := os.ReadFile(file); err != nil || string(had) != text {
		t.Errorf("%s is not what is rendered, %v; go test . -run %s -write writes it. It is:\n%s", file, err, t.Name(), text)
	}
}

// TestKEDARunsTheTriggersThatAreRendered keeps them for the test with KEDA's own code, whose
// module has no Helm.
func TestKEDARunsTheTriggersThatAreRendered(t *testing.T) {
	t.Parallel()
	all := map[string]any{}
	for id, m := range rendered(t, "keda") {
		if triggers := m.at("spec", "triggers"); triggers != nil {
			all[id] = triggers
		}
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	keep(t, "queries/triggers.json", string(text)+"\n")
}

// TestScalersReadTheConsumersOfTheirRole wants the consumers of deploy/runtime/topology.
func TestScalersReadTheConsumersOfTheirRole(t *testing.T) {
	t.Parallel()
	objects := rendered(t, "keda")
	for role, want := range map[string][]string{
		"lookup": {
			"NOTIFICATIONS lookup-picpay", "LOOKUP_RETRIES lookup-due-picpay",
			"NOTIFICATIONS lookup-sandbox", "LOOKUP_RETRIES lookup-due-sandbox",
		},
		"normalize": {"STATUSES normalize"},
		"expect":    {"ORDERS expect"},
	} {
		m := objects["ScaledObject/arauto-"+role]
		triggers, _ := m.at("spec", "triggers").([]any)
		if len(triggers) != len(want) {
			t.Errorf("%s has %d triggers, want %d", role, len(triggers), len(want))
			continue
		}
		for i, consumer := range want {
			stream, name := m.at("spec", "triggers", i, "metadata", "stream").(string), m.at("spec", "triggers", i, "metadata", "consumer").(string)
			if stream+" "+name != consumer || m.at("spec", "triggers", i, "metadata", "account") != "ARAUTO" {
				t.Errorf("trigger %d of %s reads %s %s, want %s", i, role, stream, name, consumer)
			}
		}
		if objects["Deployment/arauto-"+role].at("spec", "replicas") != nil {
			t.Errorf("each upgrade would undo what KEDA made of %s", role)
		}
		if m.at("spec", "scaleTargetRef", "name") != "arauto-"+role || m.at("spec", "minReplicaCount") != 2.0 {
			t.Errorf("%s scales %v", role, m.at("spec", "scaleTargetRef"))
		}
	}
	for _, role := range []string{"gateway", "sweep"} {
		if objects["ScaledObject/arauto-"+role].tree != nil || objects["Deployment/arauto-"+role].at("spec", "replicas") != 2.0 {
			t.Errorf("%s has no messages that wait, and is scaled", role)
		}
	}
}
