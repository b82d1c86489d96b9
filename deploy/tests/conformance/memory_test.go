package conformance_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/conf"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/testbench"
)

// TestEveryExportForgetsWhereAnswersGo asks the running broker how long it keeps where the answers
// of each service go: two minutes by default.
func TestEveryExportForgetsWhereAnswersGo(t *testing.T) {
	t.Parallel()
	account := streamAccountOf(t, startFile(t, confWithDocumentedUsers(t)))
	exports := serviceExports(t)
	if len(exports) == 0 {
		t.Error("nats.conf exports no service")
	}
	for exported, streams := range exports {
		most := 10 * time.Second
		if streams {
			most = 35 * time.Second
		}
		if got, err := account.ServiceExportResponseThreshold(exported); err != nil || got > most {
			t.Errorf("answers of %s are awaited for %v, want at most %v (error %v)", exported, got, most, err)
		}
	}
}

// TestServiceCannotFillTheBrokersMemory acknowledges what is not pending, which is never answered,
// and pulls where nothing waits, many times in the name of the documented services and each time
// with another reply. The broker keeps an entry for each only as long as the export says.
func TestServiceCannotFillTheBrokersMemory(t *testing.T) {
	t.Parallel()
	path := confWithDocumentedUsers(t)
	b := startFile(t, path)
	plant(t, b)
	account := streamAccountOf(t, b)
	for exported, streams := range serviceExports(t) {
		if streams { // Else the test would take a minute.
			testbench.Must(t, account.SetServiceExportResponseThreshold(exported, 5*time.Second))
		}
	}
	const each = 3000
	sent := 0
	for _, user := range []string{biller, ledger} {
		nc, _ := b.connect(user, silent)
		for _, pattern := range publishable(t, path)[user] {
			on := strings.Replace(literal(pattern), ".1.1.1.1.0", ".1.9999999.1.1.0", 1)
			if !strings.HasPrefix(on, ackPrefix) && !strings.Contains(on, ".MSG.NEXT.") {
				continue
			}
			for range each {
				sent++
				testbench.Must(t, nc.PublishMsg(&nats.Msg{Subject: on, Reply: "_INBOX_" + user + "." + strconv.Itoa(sent), Data: []byte(harmless(on))}))
			}
		}
		testbench.Must(t, nc.FlushWithContext(testbench.Context(t)))
	}
	if got := account.NumPendingAllResponses(); got < each {
		t.Fatalf("the broker keeps %d entries for %d requests: this is no attack", got, sent)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if !testbench.Poll(ctx, func() bool { return account.NumPendingAllResponses() == 0 }) {
		t.Errorf("after a minute the broker keeps %d entries for %d requests", account.NumPendingAllResponses(), sent)
	}
}

// TestServiceHasFewConnections looks how many connections a service may have.
func TestServiceHasFewConnections(t *testing.T) {
	t.Parallel()
	if !strings.Contains(fenced(t, "deploy/SUBSCRIBING.md", "conf service"), "max_connections: 16") {
		t.Error("nothing bounds how many connections a service has")
	}
}

// serviceExports are the services that the account of the streams exports, and whether each may
// be answered more than once.
func serviceExports(t *testing.T) map[string]bool {
	t.Helper()
	file, err := conf.ParseFile(confWithDocumentedUsers(t))
	testbench.Must(t, err)
	accounts := as[map[string]any](t, file["accounts"])
	all := map[string]bool{}
	for _, one := range as[[]any](t, as[map[string]any](t, accounts[streamAccount])["exports"]) {
		entry := as[map[string]any](t, one)
		if exported, ok := entry["service"].(string); ok {
			all[exported] = entry["response_type"] == "stream"
		}
	}
	return all
}

// streamAccountOf is the account of the streams in a running broker.
func streamAccountOf(t *testing.T, b *broker) *server.Account {
	t.Helper()
	account, err := b.server.LookupAccount(streamAccount)
	testbench.Must(t, err)
	return account
}
