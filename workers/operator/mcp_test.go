package operator

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

// program is the real command with a client of the protocol at its pipes.
type program struct {
	*rig
	client *mcp.ClientSession
}

// serve builds the command and starts it. end closes its stdin, by which it ends.
func (r *rig) serve() (p *program, end func()) {
	r.T.Helper()
	binary := filepath.Join(r.T.TempDir(), "arauto")
	build := exec.CommandContext(r.Ctx, "go", "build", "-o", binary, "arauto/workers/cmd/arauto")
	if text, err := build.CombinedOutput(); err != nil {
		r.T.Fatalf("build: %v\n%s", err, text)
	}
	command := exec.CommandContext(r.Ctx, binary, "mcp", "--config", r.config)
	client, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(r.Ctx, &mcp.CommandTransport{Command: command}, nil)
	r.Must(err)
	return &program{r, client}, func() {
		r.T.Helper()
		r.Must(client.Close())
		if code := command.ProcessState.ExitCode(); code != ExitDone {
			r.T.Errorf("the command ended with code %d", code)
		}
	}
}

// call calls a tool. failed reports whether it answered an error.
func (p *program) call(tool string, arguments map[string]any) (text string, failed bool) {
	p.T.Helper()
	result, err := p.client.CallTool(p.Ctx, &mcp.CallToolParams{Name: tool, Arguments: arguments})
	p.Must(err)
	if len(result.Content) != 1 {
		p.T.Fatalf("%s answers %+v", tool, result)
	}
	content, ok := result.Content[0].(*mcp.TextContent)
	if !ok {
		p.T.Fatalf("%s answers %+v", tool, result.Content[0])
	}
	return content.Text, result.IsError
}

func TestToolsSayWhatTheCommandSaysAndChangeNothing(t *testing.T) {
	t.Parallel()
	r := deploy(t)
	for _, payment := range []string{"p-1", "p-2"} {
		r.bank.say(payment, "no word of ours")
		r.notify(payment)
		r.Until("the letter is there", func() bool { return r.last(subject.DeadLetters, r.Unit(payment).DeadLetter("*", "*")) != nil })
	}

	p, end := r.serve()
	defer end()
	tools, err := p.client.ListTools(r.Ctx, nil)
	r.Must(err)
	var names []string
	for _, one := range tools.Tools {
		names = append(names, one.Name)
		if one.Annotations == nil || !one.Annotations.ReadOnlyHint {
			t.Errorf("%s does not say that it only reads", one.Name)
		}
	}
	if slices.Sort(names); !slices.Equal(names, []string{"dead_list", "doctor", "order_show", "status"}) {
		t.Errorf("the tools are %v", names)
	}
	before := p.stored()
	for _, one := range []struct {
		tool      string
		arguments map[string]any
		command   []string
		code      int
	}{
		{"order_show", map[string]any{"id": "o-p-1"}, []string{"order", "show", "o-p-1"}, ExitDone},
		{"order_show", map[string]any{"id": "p-2", "provider": "sandbox"}, []string{"order", "show", "p-2"}, ExitDone},
		{"dead_list", nil, []string{"dead", "list"}, ExitDone},
		{"dead_list", map[string]any{"class": "provider", "limit": 1}, []string{"dead", "list", "--limit", "1"}, ExitDone},
		{"dead_list", map[string]any{"word": "--all"}, []string{"dead", "list", "--word=--all"}, ExitDone},
		{"status", nil, []string{"status"}, ExitPartly},
		{"doctor", nil, []string{"doctor"}, ExitPartly},
	} {
		got, failed := p.call(one.tool, one.arguments)
		want := r.run(one.code, append(one.command, "--output", "json")...)
		if failed || steady(got) != steady(want) {
			t.Errorf("%s of %v answers\n%s\nthe command:\n%s", one.tool, one.arguments, got, want)
		}
	}
	for name, one := range map[string]struct {
		tool      string
		arguments map[string]any
		want      string
	}{
		"a payment that is not known":  {"order_show", map[string]any{"id": "never"}, "no payment is known"},
		"an id that looks like a flag": {"order_show", map[string]any{"id": "--by=root"}, "no payment is known"},
		"no id":                        {"order_show", map[string]any{"id": ""}, "takes one order or payment"},
		"a class that is none":         {"dead_list", map[string]any{"class": "x --all"}, "--class is not one of"},
		"an argument that is none":     {"dead_list", map[string]any{"reason": "x"}, "reason"},
	} {
		if text, failed := p.call(one.tool, one.arguments); !failed || !strings.Contains(text, one.want) {
			t.Errorf("%s: failed %v, %s", name, failed, text)
		}
	}
	if after := p.stored(); !slices.Equal(before, after) {
		t.Errorf("the last sequences were %v and are %v", before, after)
	}
	r.Stop()
	if text, failed := p.call("status", nil); !failed || !strings.Contains(text, "connect to broker") {
		t.Errorf("without a broker: failed %v, %s", failed, text)
	}
	r.Restart()
	if text, failed := p.call("dead_list", nil); failed {
		t.Errorf("after the broker's restart: %s", text)
	}
}

// A model cannot have an answer that is too long for it: the number of letters is bounded, and
// so is the length of what they say.
func TestAnswersOfToolsAreBounded(t *testing.T) {
	t.Parallel()
	r := idle(t)
	for n := range uint64(2 * (mostLetters + 5)) {
		l := record.DeadLetter{
			ID: deadletter.ID(subject.Statuses, n+1), Class: record.ClassProvider, Stage: record.StageNormalize, Provider: "sandbox", Account: "default", Kind: order.Payment,
			Payment: "p-1", Cause: "short", LastAnswer: "answered", Stream: subject.Statuses, Sequence: n + 1, ProviderStatus: "short", Next: "redrive", At: time.Now().UTC(),
		}
		if n%2 == 0 {
			l.Cause, l.ProviderStatus = strings.Repeat("long ", longestReply/mostLetters/5+1), "long"
		}
		r.Publish(r.Unit("p-1").DeadLetter(string(l.Class), l.Stage), l)
	}
	p, end := r.serve()
	defer end()
	text, failed := p.call("dead_list", map[string]any{"word": "short", "limit": mostLetters + 5})
	var letters []json.RawMessage
	r.Must(json.Unmarshal([]byte(text), &letters))
	if failed || len(letters) != mostLetters || len(text) > longestReply {
		t.Errorf("failed %v, %d letters in %d bytes", failed, len(letters), len(text))
	}
	if text, failed := p.call("dead_list", map[string]any{"word": "long", "limit": mostLetters}); !failed || len(text) > 500 || !strings.Contains(text, "choose less") {
		t.Errorf("failed %v, an answer of %d bytes: %.500s", failed, len(text), text)
	}
	if text, failed := p.call("dead_list", map[string]any{"word": "long", "limit": 2}); failed || !strings.Contains(text, "long long") {
		t.Errorf("two of them: failed %v, %.500s", failed, text)
	}
}

// stored are the last sequences of the streams.
func (p *program) stored() (all []uint64) {
	p.T.Helper()
	for _, name := range append([]string{subject.Audit}, readable...) {
		info, err := p.Stream(name).Info(p.Ctx)
		p.Must(err)
		all = append(all, info.State.LastSeq)
	}
	return all
}
