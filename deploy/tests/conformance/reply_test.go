package conformance_test

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/subject"
)

// commanding are replies that would be requests to the broker, if it took its own
// answers for such. The ones of an acknowledgement, of the first message of a batch
// and of a pull that finds nothing are empty, and an empty request deletes.
var commanding = []string{
	"$JS.API.STREAM.DELETE.ORDERS", "$JS.API.STREAM.DELETE.AUDIT", "$JS.API.STREAM.PURGE.ORDERS", "$JS.API.STREAM.PURGE.AUDIT",
	"$JS.API.CONSUMER.DELETE.ORDERS." + biller, "$JS.API.CONSUMER.DELETE.OUTCOMES." + ledger, "$JS.API.CONSUMER.DELETE.STATUSES.normalize",
}

// storing are replies on which every stream stores, and one of each inbox.
var storing = []string{
	"notifications.forged.default.p", "statuses.forged.default.p", "orders.forged.default.p.o.paid", "order-payments.o.forged.default.p",
	"lookup.parked.forged.default.h", "lookup.due.forged.default.h", "dead.data.lookup.forged.default.p",
	"circuits.forged.default", "circuits-changed.forged.default", "resumptions.forged.default", "leases.forged", "leases-changed.forged", "audit.forged",
	"_INBOX_gateway.forged", "_INBOX_lookup.forged", "_INBOX_normalize.forged", "_INBOX_sweep.forged",
	"_INBOX_operator.forged", "_INBOX_topology.forged", "_INBOX_" + biller + ".forged",
}

// TestRepliesCommandNothing has every user publish to all that it may publish to,
// and name a request to the broker as reply.
func TestRepliesCommandNothing(t *testing.T) {
	t.Parallel()
	path := confWithDocumentedUsers(t)
	b := startFile(t, path)
	stored := plant(t, b)
	for user, granted := range publishable(t, path) {
		attack(t, b, user, granted, commanding)
	}
	survived(t, b, stored)
}

// TestRepliesCommandNothingOnThreeServers is the same in a cluster, where the user's server
// mostly does not lead the stream that answers.
func TestRepliesCommandNothingOnThreeServers(t *testing.T) {
	t.Parallel()
	path := clusterConfWithDocumentedUsers(t)
	brokers := startCluster(t, path)
	brokers[0].apply(testbench.Context(t), topology.Settings{Replicas: 3, Store: 8 << 30, Providers: []string{"sandbox"}})
	f := &flow{Bench: testbench.NewBench(t, nil)}
	f.letServicesSubscribe(brokers[0])
	stored := f.store(brokers[0])
	granted := publishable(t, path)
	for i, user := range []string{"gateway", "lookup", "normalize", "sweep", "expect", "operator", biller} {
		attack(t, brokers[i%len(brokers)], user, granted[user], commanding)
	}
	survived(t, brokers[0], stored)
}

// survived wants every stream, what was stored and the consumers to be there.
func survived(t *testing.T, b *broker, stored map[string]uint64) {
	t.Helper()
	_, js := b.as(inspector)
	for _, s := range topology.Streams(topology.Settings{Replicas: 1, Store: 1 << 30, Providers: []string{"sandbox"}}) {
		stream, err := js.Stream(t.Context(), s.Name)
		if err != nil {
			t.Errorf("what became of %s: %v", s.Name, err)
			continue
		}
		if kept, ok := stored[s.Name]; ok {
			if _, err := stream.GetMsg(t.Context(), kept); err != nil {
				t.Errorf("what became of the message of %s: %v", s.Name, err)
			}
		}
	}
	for stream, consumer := range map[string]string{subject.Orders: biller, subject.Outcomes: ledger, subject.Statuses: subject.NormalizeConsumer} {
		if _, err := js.Consumer(t.Context(), stream, consumer); err != nil {
			t.Errorf("what became of the consumer of %s: %v", stream, err)
		}
	}
}

// TestRepliesStayInTheirAccount has the users behind the boundary name every
// stream's subject and every inbox as reply. A worker is the control: within the
// account of the streams the broker delivers such answers, as nats.conf says.
func TestRepliesStayInTheirAccount(t *testing.T) {
	t.Parallel()
	path := confWithDocumentedUsers(t)
	granted := publishable(t, path)
	for _, tc := range []struct {
		user string
		want []string
	}{
		{"gateway", []string{"notifications.forged.default.p"}}, // To which it may publish anyway.
		{biller, nil},
		{"lookup", storing},
	} {
		t.Run(tc.user, func(t *testing.T) {
			t.Parallel()
			b := startFile(t, path)
			plant(t, b)
			nc, _ := b.as(inspector)
			heard := listen(t, nc, ">")
			others := map[string]func() []string{}
			for _, user := range []string{"gateway", biller, "viewer"} {
				if user == tc.user {
					continue
				}
				on := "_INBOX_" + user + ".>"
				if user == "viewer" {
					on = "orders.>"
				}
				other, _ := b.as(user)
				others[user] = listen(t, other, on)
			}
			attack(t, b, tc.user, granted[tc.user], storing)
			same(t, "in the account of the streams", heard(), tc.want)
			for user, heard := range others {
				if got := heard(); len(got) > 0 && !(user == "viewer" && slices.Contains(tc.want, got[0])) {
					t.Errorf("%s has heard %v", user, got)
				}
			}
		})
	}
}

// plant makes the streams with a message in each of those that must keep it, and
// the consumer of the documents. It returns the sequences of the messages.
func plant(t *testing.T, b *broker) map[string]uint64 {
	t.Helper()
	f := &flow{Bench: testbench.NewBench(t, nil)}
	f.applyTopology(b)
	f.letServicesSubscribe(b)
	return f.store(b)
}

// store stores a message in each of the streams that must keep it, and returns their sequences.
func (f *flow) store(b *broker) map[string]uint64 {
	f.T.Helper()
	_, js := b.as(inspector)
	stored := map[string]uint64{}
	for stream, on := range map[string]string{
		subject.Orders: "orders.sandbox.default.p.o.paid", subject.Audit: "audit.redrive",
		subject.Statuses: "statuses.sandbox.default.p", subject.Notifications: "notifications.sandbox.default.p",
		subject.DeadLetters: "dead.data.lookup.sandbox.default.p", subject.Circuits: "circuits.sandbox.default",
	} {
		ack, err := js.Publish(f.Ctx, on, nil)
		f.Must(err)
		stored[stream] = ack.Sequence
	}
	return stored
}

// publishable is what each user of a configuration may publish to.
func publishable(t *testing.T, path string) map[string][]string {
	t.Helper()
	options, err := server.ProcessConfigFile(path)
	testbench.Must(t, err)
	all := map[string][]string{}
	for _, u := range options.Users {
		if len(u.Permissions.Publish.Allow) > 0 {
			all[u.Username] = u.Permissions.Publish.Allow
		}
	}
	return all
}

// attack publishes to all that a user may publish to, with each of the replies, in
// each form that the broker answers. It returns when the answers are out.
func attack(t *testing.T, b *broker, user string, granted, replies []string) {
	t.Helper()
	nc, _ := b.connect(user, silent)
	batch := 0
	for _, pattern := range granted {
		on := literal(pattern)
		for _, reply := range replies {
			forms := []*nats.Msg{{Subject: on, Reply: reply, Data: []byte(harmless(on))}}
			if !strings.HasPrefix(on, "$JS.") {
				batch++
				first := nats.Header{server.JSBatchId: {user + strconv.Itoa(batch)}, server.JSBatchSeq: {"1"}}
				commit := maps.Clone(first)
				commit[server.JSBatchSeq], commit[server.JSBatchCommit] = []string{"2"}, []string{"1"}
				forms = append(forms, &nats.Msg{Subject: on, Reply: reply, Header: first}, &nats.Msg{Subject: on, Reply: reply, Header: commit},
					&nats.Msg{Subject: on, Header: nats.Header{server.MsgTraceDest: {reply}}})
			}
			for _, m := range forms {
				testbench.Must(t, nc.PublishMsg(m))
			}
		}
	}
	// A stream, and a consumer, answers in the order in which it was asked.
	for _, pattern := range granted {
		on := literal(pattern)
		// Only the first acknowledgement of a message is answered, a snapshot only while it is made or restored, and no direct read.
		if strings.HasPrefix(on, directReads) || strings.HasPrefix(on, "$JS.ACK.") || strings.HasPrefix(on, "$JS.SNAPSHOT.") {
			continue
		}
		_, err := nc.RequestMsgWithContext(testbench.Context(t), &nats.Msg{Subject: on, Data: []byte(harmless(on))})
		if err != nil {
			t.Fatalf("%s asks on %s: %v", user, on, err)
		}
	}
}

// literal is a subject that a permission covers, of a consumer that is there.
func literal(pattern string) string {
	consumers := map[string]string{
		"NOTIFICATIONS": subject.LookupConsumer("sandbox"), "LOOKUP_RETRIES": subject.LookupDueConsumer("sandbox"), "ORDERS": biller,
	}
	tokens := strings.Split(pattern, ".")
	for i, token := range tokens {
		stream := ""
		if i > 0 {
			stream = tokens[i-1]
		}
		switch {
		case token == ">" && strings.HasPrefix(pattern, "$JS.ACK."):
			tokens[i] = "1.1.1.1.0" // Deliveries, both sequences, time and pending.
		case strings.HasPrefix(pattern, "$JS.API.CONSUMER.DELETE.") && token == "*":
			tokens[i] = "none" // Else the request itself would delete one.
		case (token == "*" || token == ">") && consumers[stream] != "":
			tokens[i] = consumers[stream]
		case token == "*" || token == ">":
			tokens[i] = "x"
		}
	}
	return strings.Join(tokens, ".")
}

// harmless is a body with which a request that a user may make changes nothing.
func harmless(on string) string {
	switch {
	case strings.Contains(on, ".STREAM.PURGE."):
		return `{"filter":"no.such.subject"}`
	case strings.Contains(on, ".MSG.DELETE."):
		return `{"seq":1000000}`
	case strings.Contains(on, ".MSG.NEXT."):
		return `{"batch":1,"no_wait":true}`
	}
	return ""
}

// listen returns what gives the forged subjects that were heard so far.
func listen(t *testing.T, nc *nats.Conn, on string) func() []string {
	t.Helper()
	f := &flow{Bench: testbench.NewBench(t, nil)}
	s := f.subscribe(nc, on)
	return func() []string {
		t.Helper()
		f.Must(nc.FlushWithContext(f.Ctx))
		count, _, err := s.Pending()
		f.Must(err)
		seen := map[string]bool{}
		for range count {
			m, err := s.NextMsgWithContext(f.Ctx)
			f.Must(err)
			if slices.Contains(storing, m.Subject) {
				seen[m.Subject] = true
			}
		}
		return slices.Collect(maps.Keys(seen))
	}
}
