package operator

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"arauto/deploy/runtime/config"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// twoHosts gives sandbox a second account at another host, and returns the hosts of both.
func (r *rig) twoHosts() (first, second string) {
	r.T.Helper()
	text, err := os.ReadFile(r.config)
	r.Must(err)
	before, after, found := strings.Cut(string(text), "  beeteller:\n")
	if !found {
		r.T.Fatal("the configuration has no beeteller")
	}
	r.Must(os.WriteFile(r.config, []byte(before+`      acme:
        webhook_secrets: [acme-hook]
        settings: {base_url: "http://acme.test", token: "${NOT_HERE}"}
  beeteller:
`+after), 0o600))
	return strings.TrimPrefix(r.bank.url, "http://"), "acme.test"
}

// pausedAt are the open circuits of hosts of sandbox.
func pausedAt(hosts ...string) (all []record.Circuit) {
	for _, host := range hosts {
		all = append(all, record.Circuit{Provider: "sandbox", Account: record.HostScope(host), State: record.CircuitOpen, Cause: "outage", By: "w-1"})
	}
	return all
}

// deployment is the deployment of the rig's configuration.
func (r *rig) deployment() *Deployment {
	r.T.Helper()
	cfg, err := config.Load(r.config, func(string) (string, bool) { return "", false }, providers.All)
	r.Must(err)
	return NewDeployment(r.JS, cfg, r.Tokens)
}

// A consumer that is late is a matter of too few workers only if workers pull from it.
func TestDoctorAdvisesMoreWorkersOnlyWhereWorkersPull(t *testing.T) {
	t.Parallel()
	r := idle(t)
	first, second := r.twoHosts()
	d := r.deployment()
	lookups := subject.LookupConsumer("sandbox")
	for name, c := range map[string]struct {
		of   consumerHealth
		open []record.Circuit
		want bool
	}{
		"late":                       {consumerHealth{Name: lookups, Oldest: 90}, nil, true},
		"not late yet":               {consumerHealth{Name: lookups, Oldest: 59}, nil, false},
		"late in a hold":             {consumerHealth{Name: subject.NormalizeConsumer, Oldest: 90, Paused: true}, nil, false},
		"late without a worker":      {consumerHealth{Name: lookups, Oldest: 90, Unworked: true}, nil, false},
		"late with one host paused":  {consumerHealth{Name: lookups, Oldest: 90}, pausedAt(first), true},
		"late with all hosts paused": {consumerHealth{Name: lookups, Oldest: 90}, pausedAt(first, second), false},
		"due ones with all paused":   {consumerHealth{Name: subject.LookupDueConsumer("sandbox"), Oldest: 90}, pausedAt(first, second), false},
		"another provider's":         {consumerHealth{Name: subject.LookupConsumer("beeteller"), Oldest: 90}, pausedAt(first, second), true},
		"one without a provider":     {consumerHealth{Name: subject.NormalizeConsumer, Oldest: 90}, pausedAt(first, second), true},
	} {
		found, err := d.Findings(r.Ctx, Health{Consumers: []consumerHealth{c.of}, Circuits: c.open})
		r.Must(err)
		said := ""
		for _, one := range found {
			if strings.Contains(one.What, "start more of its workers") {
				said = one.What
			}
		}
		if (said != "") != c.want || c.want && said != fmt.Sprintf("consumer %s is 1m30s behind: start more of its workers", c.of.Name) {
			t.Errorf("%s: doctor says %q, want advice: %v", name, said, c.want)
		}
	}
}

// While one of two hosts answers, look-ups are pulled, and a consumer from which no
// worker pulls needs one.
func TestStatusKnowsThatNoWorkerRunsWhileOneHostIsPaused(t *testing.T) {
	t.Parallel()
	r := idle(t)
	first, second := r.twoHosts()
	r.notify("p-1")
	const none = "no worker works on consumer lookup-sandbox"
	for _, step := range []struct {
		open []string
		want bool
	}{{nil, true}, {[]string{first}, true}, {[]string{first, second}, false}} {
		for _, c := range pausedAt(step.open...) {
			body := fmt.Appendf(nil, `{"provider":"sandbox","account":%q,"state":"open","cause":"outage","by":"w-1"}`, c.Account)
			_, err := r.JS.Publish(r.Ctx, subject.Circuit("sandbox", c.Account), body)
			r.Must(err)
		}
		h, err := r.deployment().Health(r.Ctx)
		r.Must(err)
		if said := strings.Contains(strings.Join(h.Needs, "\n"), none); said != step.want {
			t.Errorf("with the circuits of %v open it says %q: %v", step.open, none, said)
		}
	}
}

// A host of which the variable is not here may be the one whose circuit is open, although the
// provider has a default.
func TestHostThatCannotBeReadMayBePaused(t *testing.T) {
	t.Parallel()
	r := idle(t)
	text, err := os.ReadFile(r.config)
	r.Must(err)
	r.Must(os.WriteFile(r.config, append(text, `  picpay: {accounts: {default: {webhook_secrets: [hook], settings: {base_url: "${BASE}", token: token}}}}
`...), 0o600))
	d := r.deployment()
	open := []record.Circuit{{Provider: "picpay", Account: record.HostScope("bank.test"), State: record.CircuitOpen}}
	if consumer := subject.LookupDueConsumer("picpay"); d.hostsStopped(consumer, nil) || !d.hostsStopped(consumer, open) {
		t.Errorf("stopped without a circuit: %v; with one: %v", d.hostsStopped(consumer, nil), d.hostsStopped(consumer, open))
	}
}
