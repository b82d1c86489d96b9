package conformance_test

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
)

// sizes bound the source lines of each folder, tests apart, each with what the number
// is made of. A change that needs more room raises the number here, with its reason.
var sizes = []struct {
	folder string // With "/*" at its end each folder in it is bounded, however many there are.
	most   int
	reason string
}{
	{"gateway", 180, "the role's parts list"},
	{"gateway/ingress", 1720, "connections, those of proxies, TLS with client certificates, framing and bodies, with a share of their memory for each account, on fasthttp, which bounds none of them as a payment gateway must and reads bodies before authentication"},
	{"gateway/publish", 380, "what a committer's result is worth to a webhook: readiness, classes, the durability gate, another try while the broker reloads"},
	{"gateway/webhook", 1740, "routes, authentication, what an account asks of its clients, limits, accounts that are replaced while it runs, answers and their list for the contract, refusals"},
	{"workers/cmd", 80, "a main for each role and for the operator's command"},
	{"workers/workertest", 270, "real workers for suites outside workers/, what they share and remember of erased payments, and what brings look-ups forward"},
	{"workers/internal", 5250, "what the roles share: scheduling, expectations with what may be expected, their traces and when they were announced first, due queues, consumers whose accounts take turns, the index of orders, which payments were erased, breakers with a count of what waits for each and a record of what was brought forward once they closed, limits, dead letters, observations; 420 lines are the leases by which all workers share the limits"},
	{"workers/lookup", 2280, "the look-up as load, decide, admit, ask and store; expected payments that the provider does not know yet; limits, accounts over them, and control payments, 40 lines of it for what firewalls refuse, payloads, metrics, what parks a paused provider's notifications, what brings look-ups forward once a circuit has closed and no hold is on, accounts and limits that are replaced while it runs, what begins once a consumer is made, and its role"},
	{"workers/normalize", 860, "folding observations into events"},
	{"workers/expect", 1470, "the judgement of expected payments as one pure function, since when a repeated one counts, and the wait for the index of orders, what it reads and writes, the walk over open ones, HTTP routes, metrics, spans, its share of what is scheduled, and its role"},
	{"workers/sweep", 2490, "stale payments in one walk, what a failing disk or a leaderless consumer hides from it, stuck schedules, retention with removal below every consumer's floor, advisories, gauges; 70 lines count payments by status and age"},
	{"workers/console", 4640, "the pages, the watch over the broker that they share, the index of payments with what leaves it when a payment is forgotten, 240 lines of which are entries in few bytes, their keys, and the checksum without which a damaged file would be read; jobs on dead letters, the drawing of a payment's way; 350 lines are every text in two languages, 120 bound streams, costly pages and connections, and 60 keep the answers of each account; 200 say what a page did not search or read, and why a payment waits"},
	{"workers/console/access", 1250, "who may see and do what: log-in, sessions, a proxy's header, throttling, tokens of forms, headers"},
	{"workers/operator", 6580, "one file for each verb of the operator's command, with its screen and its dry run; what is expected of a payment is 80, 120 lines are the tools of the Model Context Protocol, 130 compare the servers of the broker, 110 say what ends, 50 count what waits for an account's circuit, 460 lines make, list and remove the services that subscribe, with their accounts at the broker, and 360 are forget, with what other payments say of an erased one"},
	{"schemas/expectation", 270, "what is expected, what came of it, and their versions"},
	{"schemas/order", 900, "statuses, graph, fold, events"},
	{"schemas/provider", 2970, "the adapter's contract, its sample and its conformance kit, which is two thirds of it"},
	{"schemas/providers/*", 600, "an adapter of 110 to 430 lines, and a sample that plays the provider"},
	{"schemas/record", 380, "documents on the internal streams, and which of their sequences may be compared"},
	{"schemas/schematest", 220, "validation against the JSON Schemas, and what of a change to one breaks its readers"},
	{"schemas/wire", 560, "JSON objects, forms and decimals from outside"},
	{"schemas/subscriber", 510, "the Go package for services that subscribe: order per payment, retries, heartbeats, dead letters, replay; 110 lines look why a transition was not delivered"},
	{"schemas/subject", 640, "tokens, and building and parsing of every subject"},
	{"deploy/runtime/config", 2740, "85 keys, each with its bounds and the advice that a refusal gives; 140 lines are what a reload compares"},
	{"deploy/runtime/durability", 1400, "what the broker survives, read from every server at start, on reconnect and all the time"},
	{"deploy/runtime/testbench", 1030, "broker, streams, waiting, clocks, metrics, certificates, packages of npm and a proxy for all tests above schemas"},
	{"deploy/runtime/process/processtest", 370, "binaries, processes with their sockets, the shipped nats.conf and a broker with a full disk for tests"},
	{"deploy/runtime/process", 1570, "signals, garbage collection, reload, admin listener, log, connection, consumer metrics of every process"},
	{"deploy/runtime/spans", 540, "spans by OpenTelemetry's conventions, who decides what is recorded, and their export without gRPC"},
	{"deploy", 12, "the shipped nats.conf, which the operator's command compares with"},
	{"deploy/runtime", 670, "the version, tracing, waiting, and reading of streams, several messages at once, a payment's messages subject by subject and the newest of them, what proves that one is gone, with the age that metrics and arauto status both need"},
	{"deploy/runtime/snapshot", 170, "a stream with its consumers off a broker and onto one, by JetStream's protocol"},
	{"deploy/runtime/commit", 1230, "group commit for any stream, of which a third is comments; with the wire that loses acks for tests"},
	{"deploy/runtime/topology", 670, "streams and consumers as data, that of a subscriber and what is left of a provider among them, with the metadata by which tools of NATS check them"},
	{"deploy/tests", 690, "the reconciling ledger, which the suites share"},
	{"deploy/tools/bench", 1900, "an open-loop driver, three rivals, and one server or three; below the gateway"},
	{"deploy/tools/contract", 930, "the AsyncAPI and OpenAPI documents from the topology, the schemas and the providers, and their pages"},
	{"deploy/tools/local", 1340, "make run: broker, children, screen with how to act on the pages, demo"},
	{"deploy/tools/image", 260, "images of static binaries without a container engine: make, read again, run"},
	{"deploy/tools/simulator", 1530, "state, faults, control calls and the server around what the samples of the adapters say"},
}

// sizeOf is the index in sizes of the longest folder that holds a file, -1 for none.
func sizeOf(file string) int {
	found := -1
	for i, s := range sizes {
		if strings.HasPrefix(file, strings.TrimSuffix(s.folder, "/*")+"/") && (found < 0 || len(s.folder) > len(sizes[found].folder)) {
			found = i
		}
	}
	return found
}

func TestFoldersKeepTheirSize(t *testing.T) {
	t.Parallel()
	lines, each := make([]int, len(sizes)), map[string]int{}
	for _, top := range []string{"gateway", "workers", "schemas", "deploy"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return err
			}
			name, err = filepath.Rel(root, name)
			if i := sizeOf(filepath.ToSlash(name)); i >= 0 && strings.HasSuffix(sizes[i].folder, "/*") {
				folder := filepath.Dir(name)
				each[folder] += strings.Count(read(t, name), "\n")
				lines[i] = max(lines[i], each[folder])
			} else if i >= 0 {
				lines[i] += strings.Count(read(t, name), "\n")
			} else {
				t.Errorf("%s is in no folder of the list", name)
			}
			return err
		})
		testbench.Must(t, err)
	}
	for i, s := range sizes {
		if lines[i] > s.most {
			t.Errorf("%s has %d source lines, at most %d are for %s", s.folder, lines[i], s.most, s.reason)
		}
		if lines[i] < s.most*8/10 {
			t.Errorf("%s has %d source lines; lower its bound of %d", s.folder, lines[i], s.most)
		}
	}
}
