package acceptance

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tools/local/supervise"
	"arauto/schemas/order"
	"arauto/schemas/schematest"
)

const root = "../../../"

// documents returns what people read: the README, and what it links to.
func documents(t *testing.T) string {
	t.Helper()
	all := ""
	for _, name := range []string{
		"README.md", "deploy/SEEDS.md", "deploy/SUBSCRIBING.md", "deploy/CONFIGURING.md", "deploy/OPERATING.md", "deploy/GUARANTEES.md",
		"deploy/FIGURES.md", "schemas/providers/README.md", "deploy/BYHAND.md",
	} {
		text, err := os.ReadFile(root + name)
		testbench.Must(t, err)
		all += string(text)
	}
	return all
}

// blocks returns the fenced code blocks of the documents that carry a language.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(documents(t), -1) {
		all = append(all, m[1])
	}
	return all
}

// TestReadmeCommandsWorkAsTheyStand runs every command that the README shows
// for a running system, only with the ports of the test's own stack.
func TestReadmeCommandsWorkAsTheyStand(t *testing.T) {
	t.Parallel()
	s := start(t)
	local := supervise.DefaultAddresses()
	ports := strings.NewReplacer(local.Gateway, s.at.Gateway, local.Simulator, s.at.Simulator, local.Admin, s.at.Admin, local.NATS, s.at.NATS)
	ran := 0
	for _, block := range blocks(t, "sh") {
		for command := range strings.SplitSeq(strings.TrimSpace(block), "\n\n") {
			for _, one := range regexp.MustCompile(`(?m)^curl (?:.*\\\n|[^\n]*'[^']*\n[^']*')*.*$`).FindAllString(command, -1) {
				out, err := exec.CommandContext(s.ctx, "sh", "-c", ports.Replace(one)).CombinedOutput()
				if err != nil {
					t.Errorf("command failed: %v\n%s\n%s", err, one, out)
				}
				if strings.Contains(one, "curl -i") && !strings.Contains(string(out), "HTTP/1.1 200") {
					t.Errorf("command was not answered 200:\n%s\n%s", one, out)
				}
				if strings.Contains(one, "my-payment") && strings.Contains(one, `"paid"`) {
					// A person sees it paid before he refunds it. Without a look in between
					// there is no such transition.
					s.awaitStatuses("sandbox/default/my-payment", order.Paid)
				}
				ran++
			}
		}
	}
	if ran < 16 {
		t.Errorf("only %d commands found, the README has more", ran)
	}
	s.awaitStatuses("picpay/default/102030", order.Paid)
	s.awaitStatuses("picpay-checkout/default/61e35ec2-caa8-4598-bed5-d43e25e14151", order.Paid)
	s.awaitStatuses("picpay-checkout/default/3ds-bac0ffd7-e4cb-48c7-9f3e-a05ff7eb40a1", order.Authenticated)
	s.awaitStatuses("beeteller/default/1e7ce9c5-75b1-40c2-949a-bb221aafe70d", order.Paid)
	s.awaitStatuses("yapay/default/f0c4e2", order.Pending)
	s.awaitStatuses("picpay-subscriptions/default/5f3a1c", order.Paid)
	s.awaitStatuses("mercadopago/default/123456789", order.Paid)
	s.awaitStatuses("sandbox/default/my-payment", order.Paid, order.PartiallyRefunded)
}

func TestReadmeNamesOnlyMakeTargetsThatExist(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(root + "Makefile")
	testbench.Must(t, err)
	named := regexp.MustCompile("(?m)(?:^|`|[A-Z]=[a-z]+ )make ([a-z-]+)").FindAllStringSubmatch(documents(t), -1)
	if len(named) < 4 {
		t.Errorf("only %d make targets found in the README", len(named))
	}
	for _, m := range named {
		if !regexp.MustCompile("(?m)^" + m[1] + ":").Match(makefile) {
			t.Errorf("README says make %s, the Makefile has no such target", m[1])
		}
	}
}

func TestDocumentedJSONKeepsTheContract(t *testing.T) {
	t.Parallel()
	found := blocks(t, "json")
	if len(found) == 0 {
		t.Fatal("the documents show no event")
	}
	for _, block := range found {
		check := schematest.Event
		if !strings.Contains(block, `"transition"`) {
			check = schematest.Expectation
		}
		if err := check([]byte(block)); err != nil {
			t.Errorf("what the documents show breaks the schema: %v\n%s", err, block)
		}
	}
}
