package chart_test

import (
	"flag"
	"os"
	"testing"
)

var writeQuery = flag.Bool("write", false, "write the query that the tests of deploy/watch run")

// readyQuery is the query of one provider, as the chart renders it. The tests of
// deploy/watch run it by the engine of Prometheus, which this module does not have.
const readyQuery = "queries/lookup-picpay.promql"

func TestLookupScalesOnTheQueryThatPrometheusRuns(t *testing.T) {
	t.Parallel()
	m := rendered(t, "keda-prometheus")["ScaledObject/arauto-lookup"]
	query, _ := m.at("spec", "triggers", 0, "metadata", "query").(string)
	if *writeQuery {
		if err := os.WriteFile(readyQuery, []byte(query+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(readyQuery); err != nil || string(text) != query+"\n" {
		t.Errorf("%s is not what is rendered, %v; go test . -run %s -write writes it. It is:\n%s", readyQuery, err, t.Name(), query)
	}
	if other := m.at("spec", "triggers", 1, "metadata", "query"); other == query || other == nil || m.at("spec", "triggers", 2) != nil {
		t.Errorf("the second provider has the query %v", other)
	}
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
