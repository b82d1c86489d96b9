package privacy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// TestNothingOfAPersonAndNoSecretStaysAnywhere plants personal data and all secrets in
// everything that providers and strangers send, and in ids, and then searches all that the
// deployment keeps, shows and logs: every message of every stream, the broker's files, a
// backup, the logs, the metrics, the monitoring and the operator's command. A new
// provider and a new stream are covered by themselves.
func TestNothingOfAPersonAndNoSecretStaysAnywhere(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	made := []string{hashKey, expectToken}
	for _, line := range p.env {
		_, password, _ := strings.Cut(line, "=")
		made = append(made, password)
	}
	s := &sower{plant: p, bad: slices.Concat(canaries, secrets(made...))}
	s.given, s.extra = newSearch(t, s.bad, ids), unknown(s.bad)
	p.proxy.on("token", func(r *http.Response, body []byte) []byte { // The log-in.
		s.addHeaders(r)
		return edit(body, func(int, string) (string, bool) { return "", false }, s.extra)
	})
	for _, known := range providers.All {
		for _, unit := range known.Sample.Units {
			for _, step := range lastSteps(unit) {
				s.webhooks(known, accounts[0], unit, step)
				if s.asks(known) && unit.Answer != nil {
					s.answers(known, accounts[1], unit, step)
				}
			}
			s.persons(known, accounts[0], unit, unit.Stories[0][0])
		}
		s.strangers(known)
	}
	s.settle()
	for _, known := range providers.All {
		if unit := known.Sample.Units[0]; s.asks(known) && unit.Answer != nil {
			s.errors(known, accounts[1], unit, unit.Stories[0][0])
			s.expectations(known)
		}
	}
	sandbox, _ := providers.All.Get("sandbox")
	s.refusedExpectations(sandbox)
	s.judged()
	s.settle()
	s.readEverything()
}

// lastSteps are the ends of the first and of the last story: between them they have all
// fields of the samples.
func lastSteps(unit provider.SampleUnit) []provider.Step {
	var all []provider.Step
	for i, story := range unit.Stories {
		if i == 0 || i == len(unit.Stories)-1 {
			all = append(all, story[len(story)-1])
		}
	}
	return all
}

// asks reports whether the account acme of a provider has a look-up.
func (s *sower) asks(known provider.Provider) bool {
	if known.Ask == nil {
		return false
	}
	_, err := known.Ask(provider.Target{Payment: "p"}, provider.Account{Settings: s.settings(known, accounts[1])})
	return err == nil
}

// settle waits until every changed answer was given at least once, and all messages are handled.
func (s *sower) settle() {
	s.T.Helper()
	for _, payment := range s.asked {
		s.Until("the look-up of "+payment, func() bool { return s.proxy.count(payment) > 0 })
	}
	s.asked = nil
	s.drained()
}

// readEverything searches what the deployment keeps, shows and logs.
func (s *sower) readEverything() {
	s.T.Helper()
	bad, persons := newSearch(s.T, s.bad), newSearch(s.T, ids)
	s.readStreams(bad, persons)
	s.readPages(bad, persons)
	s.operate(bad, persons)
	s.settle()
	s.readStreams(bad, persons)
	s.readPages(bad, persons)
	s.readBackup(bad, persons)
	for _, role := range roles {
		s.stop(role)
	}
	s.stop("nats-server")
	s.readTraces(bad, persons)
	for _, name := range append([]string{"broker"}, roles...) {
		log, err := os.ReadFile(filepath.Join(s.dir, name+".log"))
		s.Must(err)
		if len(log) == 0 {
			s.T.Errorf("%s has logged nothing", name)
		}
		bad.in("the log of "+name, log)
		persons.in("the log of "+name, log)
	}
	eachFile(s.T, filepath.Join(s.dir, "index-of-the-console"), func(name string, data []byte) {
		bad.in("the console's file "+name, data)
		persons.in("the console's file "+name, data)
	})
	if held := readFiles(s.T, filepath.Join(s.dir, "store"), bad, persons); !held {
		s.T.Error("no file holds the id of a payment, so the search of the files shows nothing")
	}
}

// readBackup makes a backup, and searches it. The snapshots are compressed, and hold documents,
// so ids of persons are not sought in them.
func (s *sower) readBackup(bad, persons *search) {
	s.T.Helper()
	folder := filepath.Join(s.dir, "backup")
	s.Until("the deployment to be held", func() bool { // A message in hand, such as a poll's, makes the command give up.
		_, code := s.arauto("backup", "hold", "--why", "a test", "--wait", "20s")
		return code == 0
	})
	for _, line := range [][]string{{"backup", folder}, {"resume"}} {
		output, code := s.arauto("backup", line...)
		if code != 0 {
			s.T.Fatalf("arauto %s: code %d, %s", line[0], code, output)
		}
		bad.in("the output of arauto "+line[0], output)
	}
	snapshots, held := 0, false
	eachFile(s.T, folder, func(name string, data []byte) {
		if filepath.Ext(name) != ".snapshot" {
			persons.in("the backup's file "+name, data)
		} else if plain, err := io.ReadAll(s2.NewReader(bytes.NewReader(data))); err != nil {
			s.T.Errorf("%s cannot be read: %v", name, err)
		} else {
			data, held = plain, held || persons.finds(plain)
			snapshots++
		}
		bad.in("the backup's file "+name, data)
	})
	if snapshots < 10 || !held {
		s.T.Errorf("of %d snapshots one holds the id of a payment: %v; so the search of them shows nothing", snapshots, held)
	}
}

// readTraces searches what the roles have sent to the collector of spans.
func (s *sower) readTraces(bad, persons *search) {
	s.T.Helper()
	requests, header := s.traces.Requests()
	for i, body := range requests {
		bad.in("request of spans", body)
		persons.in("request of spans", body)
		if i == 0 {
			bad.in("a header of the request of spans", []byte(fmt.Sprint(header)))
		}
	}
	names := map[string]int{}
	for _, span := range s.traces.Spans("") {
		names[span.Service+" "+span.Kind]++
	}
	for _, kind := range []string{
		"arauto-gateway SPAN_KIND_SERVER", "arauto-gateway SPAN_KIND_PRODUCER", "arauto-lookup SPAN_KIND_CONSUMER", "arauto-lookup SPAN_KIND_CLIENT",
		"arauto-lookup SPAN_KIND_PRODUCER", "arauto-normalize SPAN_KIND_CONSUMER", "arauto-normalize SPAN_KIND_PRODUCER",
	} {
		if names[kind] < 50 {
			s.T.Errorf("of %s there are %d spans: too few for this search to show anything", kind, names[kind])
		}
	}
}

// readFiles searches all files of a broker's store. Documents may hold ids of persons, so
// these are not sought in the blocks of messages; held reports whether one is there.
func readFiles(t testing.TB, folder string, bad, persons *search) (held bool) {
	t.Helper()
	files := 0
	testbench.Must(t, filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		files++
		place := "the broker's file " + strings.TrimPrefix(name, folder)
		bad.in(place, append([]byte(name+"\x00"), data...))
		if filepath.Ext(name) == ".blk" {
			held = held || persons.finds(data)
		} else {
			persons.in(place, data)
		}
		return err
	}))
	if files < 20 {
		t.Errorf("%s has %d files only", folder, files)
	}
	return held
}

// readStreams searches every message of every stream.
func (s *sower) readStreams(bad, persons *search) {
	s.T.Helper()
	names := s.JS.StreamNames(s.Ctx)
	read, held := 0, 0
	for name := range names.Name() {
		for _, raw := range s.Messages(name, ">") {
			read++
			header := fmt.Sprint(raw.Header)
			for _, at := range []*search{bad, persons} {
				at.in("a subject of "+name, []byte(raw.Subject))
				at.in("a header of "+name, []byte(header))
			}
			bad.in("a message of "+name, raw.Data)
			rest := withoutIDs(raw)
			persons.in("a message of "+name+", apart from payment and order", rest)
			if persons.finds(raw.Data) && !persons.finds(rest) {
				held++
			}
		}
	}
	s.Must(names.Err())
	if read < 500 || held < 50 {
		s.T.Errorf("%d messages were read, of which %d have the id of a person: too few for this search to show anything", read, held)
	}
}

// withoutIDs is a document without the ids of payment and order.
func withoutIDs(raw *jetstream.RawStreamMsg) []byte {
	var document map[string]json.RawMessage
	if json.Unmarshal(raw.Data, &document) != nil {
		return raw.Data
	}
	delete(document, "payment")
	delete(document, "order")
	var fields map[string]string
	if json.Unmarshal(document["fields"], &fields) == nil {
		delete(fields, "reference") // Beeteller's name of the order.
		document["fields"], _ = json.Marshal(fields)
	}
	rest, err := json.Marshal(document)
	if err != nil {
		return raw.Data
	}
	return rest
}

// readPages searches what the processes and the broker serve.
func (s *sower) readPages(bad, persons *search) {
	s.T.Helper()
	var pages []string
	for _, role := range roles {
		for _, path := range []string{"/metrics", "/readyz", "/healthz", "/readyz?for=balancer"} {
			pages = append(pages, "http://"+s.address(role+"/admin")+path)
		}
	}
	pages = append(pages, "http://"+s.address("gateway/admin")+"/durability")
	for _, path := range []string{"/", "/payments", "/payments?sort=oldest", "/dead", "/dead?state=redriven", "/providers", "/broker"} {
		pages = append(pages, "http://"+s.address("console")+path)
	}
	for _, c := range ids {
		pages = append(pages, "http://"+s.address("console")+"/payments/sandbox/default/"+url.PathEscape(c.text))
	}
	for _, path := range []string{"varz", "connz?subs=detail", "subsz?subs=1", "jsz?accounts=1&streams=1&consumers=1&config=1", "accountz", "healthz"} {
		pages = append(pages, "http://"+s.monitor+"/"+path)
	}
	for _, page := range pages {
		status, body := s.get(page)
		if status == 0 || len(body) == 0 {
			s.T.Errorf("%s gives nothing", page)
		}
		bad.in(page, body)
		persons.in(page, body)
	}
}

// operate runs the operator's commands.
func (s *sower) operate(bad, persons *search) {
	s.T.Helper()
	var lines [][]string
	for _, output := range []string{"text", "json"} {
		for _, line := range []string{
			"status", "dead list --state all", "circuit list", "topology diff", "replay --since 24h --dry-run --rate 1000", "version",
			"retry now " + s.paid[len(s.paid)-1], "circuit open --provider sandbox --account acme", "circuit close --provider sandbox --account acme",
		} {
			lines = append(lines, append(strings.Fields(line), "--output", output))
		}
		for i := 0; i < len(s.paid); i += 1 + len(s.paid)/12 {
			lines = append(lines, []string{"order", "show", s.paid[i], "--output", output})
		}
		for _, c := range ids {
			lines = append(lines, []string{"order", "show", c.text, "--output", output}, []string{"replay", "--payment", c.text, "--output", output, "--wait", "1s"})
		}
	}
	lines = append(lines, strings.Fields("dead redrive --class provider --rate 1000"), strings.Fields("dead discard --class data --rate 1000"),
		strings.Fields("dead list --state all --output json"), []string{"order", "show", s.bad[4].text})
	for _, line := range lines {
		user := "operator"
		if line[0] == "topology" {
			user = "topology"
		}
		output, code := s.arauto(user, line...)
		if len(output) == 0 || code == 2 {
			s.T.Errorf("arauto %s prints %q, code %d", line[0], output, code)
		}
		place := "the output of arauto " + strings.Join(line[:min(2, len(line))], " ")
		bad.in(place, output)
		persons.in(place, output)
	}
}
