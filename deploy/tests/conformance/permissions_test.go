package conformance_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/testbench"
)

// probe is something that a user must not be able to do.
type probe struct{ role, subject, because string }

// publishing lists what must not be published, API requests included.
var publishing = []probe{
	{"gateway", "$JS.API.STREAM.MSG.GET.ORDERS", "it faces the internet and needs no event"},
	{"gateway", "$JS.API.STREAM.MSG.GET.NOTIFICATIONS", "it cannot read back what it stored"},
	{"gateway", "$JS.API.DIRECT.GET.NOTIFICATIONS", "it cannot read back what it stored"},
	{"gateway", "$JS.API.CONSUMER.CREATE.NOTIFICATIONS", "a consumer of its own would be a way to read"},
	{"gateway", "$JS.API.CONSUMER.MSG.NEXT.NOTIFICATIONS.lookup-sandbox", "taking messages would lose them"},
	{"gateway", "leases.w-1", "it asks no provider"},
	{"gateway", "circuits.sandbox.default", "it asks no provider"},
	{"gateway", "$JS.API.STREAM.PURGE.NOTIFICATIONS", "what was answered with 200 must stay"},
	{"gateway", "$JS.API.STREAM.DELETE.NOTIFICATIONS", "what was answered with 200 must stay"},
	{"gateway", "orders.sandbox.default.p.o.paid", "nothing from outside becomes an event by itself"},
	{"gateway", "statuses.sandbox.default.p", "the body is a hint, the look-up is the fact"},
	{"gateway", "lookup.parked.sandbox.default.h", "one header there can empty the stream"},
	{"gateway", "dead.data.gateway.sandbox.default.p", "it answers with an error instead"},
	{"gateway", "notifications.sandbox.default", "a subject has exactly its four tokens"},
	{"gateway", "notifications.sandbox.default.p.more", "a subject has exactly its four tokens"},
	{"gateway", accountInfo, "it is imported for the server's sake"},

	{"lookup", "orders.sandbox.default.p.o.paid", "only normalize judges what is a transition"},
	{"lookup", "order-payments.o.sandbox.default.p", "it writes no event"},
	{"lookup", "notifications.sandbox.default.p", "only the gateway authenticates callers"},
	{"lookup", "dead.data.normalize.sandbox.default.p", "it guards which observations are reported"},
	{"lookup", "lookup.due.sandbox.default.h", "only the broker says that a look-up is due"},
	{"lookup", "$JS.API.STREAM.MSG.GET.ORDERS", "it needs no event"},
	{"lookup", "$JS.API.STREAM.MSG.DELETE.NOTIFICATIONS", "it acknowledges, it does not remove"},
	{"lookup", "$JS.API.STREAM.MSG.DELETE.STATUSES", "observations are facts"},
	{"lookup", "$JS.API.STREAM.PURGE.LOOKUP_RETRIES", "it cancels one look-up at a time"},
	{"lookup", "$JS.API.CONSUMER.CREATE.NOTIFICATIONS.rogue", "consumers are declared in the topology"},
	{"lookup", "$JS.API.CONSUMER.DELETE.NOTIFICATIONS.lookup-sandbox", "consumers are declared in the topology"},
	{"lookup", "$JS.API.CONSUMER.PAUSE.STATUSES.normalize", "it pauses its own consumers only"},
	{"lookup", "$JS.API.STREAM.MSG.DELETE.CIRCUITS", "a circuit is closed by a record, not by forgetting it"},
	{"lookup", "leases-changed.w-1", "only the broker says that a lease was stored"},
	{"lookup", "$JS.API.STREAM.MSG.DELETE.LEASES", "a lease ends by itself or by a record"},
	{"lookup", "$JS.API.CONSUMER.PAUSE.NOTIFICATIONS.lookup-sandbox", "a circuit is opened by a record, not by a pause that no worker explains"},
	{"lookup", "circuits-changed.sandbox.default", "only the broker says that a circuit has changed"},
	{"lookup", "$JS.API.CONSUMER.MSG.NEXT.STATUSES.normalize", "those are for normalize"},
	{"lookup", "$JS.ACK.STATUSES.normalize.1.1.1.1.0", "an acknowledgement there would lose an event"},
	{"lookup", "$JS.ACK._.hash.STATUSES.normalize.1.1.1.1.0", "an acknowledgement there would lose an event"},
	{"lookup", "$JS.ACK.STATUSES.normalize.NOTIFICATIONS.1.1.1.0", "an acknowledgement there would lose an event"},
	{"lookup", "$JS.ACK.STATUSES.normalize.LOOKUP_RETRIES.1.1.1.0", "an acknowledgement there would lose an event"},
	{"lookup", "_INBOX_gateway.forged", "a forged confirmation would be a 200 without durability"},

	{"normalize", "statuses.sandbox.default.p", "it does not make facts, it judges them"},
	{"normalize", "leases.w-1", "it asks no provider"},
	{"normalize", "circuits.sandbox.default", "it asks no provider"},
	{"normalize", "$JS.API.STREAM.MSG.DELETE.ORDER_PAYMENTS", "it adds to the index, sweep removes from it"},
	{"normalize", "resumptions.sandbox.default", "it asks no provider"},
	{"normalize", "notifications.sandbox.default.p", "only the gateway authenticates callers"},
	{"normalize", "dead.provider.lookup.sandbox.default.p", "that stage is not its own"},
	{"normalize", "lookup.due.sandbox.default.h", "only the broker says that a look-up is due"},
	{"normalize", "$JS.API.STREAM.MSG.GET.NOTIFICATIONS", "it works on observations"},
	{"normalize", "$JS.API.DIRECT.GET.NOTIFICATIONS.notifications.sandbox.default.p", "it works on observations"},
	{"normalize", "$JS.API.STREAM.MSG.DELETE.ORDERS", "the order log is the state"},
	{"normalize", "$JS.API.STREAM.MSG.DELETE.LOOKUP_RETRIES", "it parks, lookup cancels"},
	{"normalize", "$JS.API.STREAM.UPDATE.ORDERS", "streams are declared in the topology"},
	{"normalize", "$JS.API.CONSUMER.MSG.NEXT.NOTIFICATIONS.lookup-sandbox", "those are for lookup"},
	{"normalize", "$JS.ACK.NOTIFICATIONS.lookup-sandbox.1.1.1.1.0", "an acknowledgement there would lose a webhook"},
	{"normalize", "$JS.ACK.NOTIFICATIONS.lookup-sandbox.STATUSES.normalize.1.1.1", "it would be given a webhook"},

	{"sweep", "orders.sandbox.default.p.o.paid", "only normalize judges what is a transition"},
	{"sweep", "order-payments.o.sandbox.default.p", "it removes from the index, normalize adds to it"},
	{"sweep", "$JS.API.STREAM.PURGE.ORDER_PAYMENTS", "it removes one entry at a time"},
	{"sweep", "statuses.sandbox.default.p", "it does not ask, it lets others ask"},
	{"sweep", "notifications.sandbox.default.p", "only the gateway authenticates callers"},
	{"sweep", "lookup.due.sandbox.default.h", "only the broker says that a look-up is due"},
	{"sweep", "dead.ours.lookup.sandbox.default.p", "that stage is not its own"},
	{"sweep", "$JS.API.STREAM.PURGE.STATUSES", "observations are facts"},
	{"sweep", "$JS.API.STREAM.PURGE.LOOKUP_RETRIES", "it parks, it cancels nothing"},
	{"sweep", "$JS.API.STREAM.PURGE.DEAD_LETTERS", "dead letters are for operators"},
	{"sweep", "$JS.API.STREAM.MSG.DELETE.ORDERS", "what it removes, it removes by payment"},
	{"sweep", "$JS.API.CONSUMER.MSG.NEXT.NOTIFICATIONS.lookup-sandbox", "those are for lookup"},
	{"sweep", "$JS.ACK.NOTIFICATIONS.lookup-sandbox.1.1.1.1.0", "an acknowledgement there would lose a webhook"},
	{"sweep", "$JS.ACK._.hash.NOTIFICATIONS.lookup-sandbox.1.1.1.1.0", "an acknowledgement there would lose a webhook"},
	{"sweep", "$JS.ACK.NOTIFICATIONS.lookup-sandbox.ADVISORIES.sweep-advisories.1.1.1", "it would be given a webhook"},
	{"sweep", "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.A.B", "only the broker says what it gave up"},

	{"topology", "$JS.API.STREAM.DELETE.ORDERS", "applying a topology never takes data away"},
	{"topology", "$JS.API.STREAM.PURGE.ORDERS", "applying a topology never takes data away"},
	{"topology", "$JS.API.STREAM.DELETE.AUDIT", "applying a topology never takes data away"},
	{"topology", "$JS.API.STREAM.PURGE.AUDIT", "applying a topology never takes data away"},
	{"topology", "$JS.API.STREAM.MSG.DELETE.AUDIT", "applying a topology never takes data away"},
	{"topology", "$JS.API.STREAM.CREATE.COPY", "it makes the declared streams"},
	{"topology", "$JS.API.CONSUMER.CREATE.AUDIT.reader", "what reads AUDIT is not declared"},
	{"topology", "$JS.API.CONSUMER.CREATE.AUDIT.reader.audit.redrive", "what reads AUDIT is not declared"},
	{"topology", "$JS.API.CONSUMER.CREATE.AUDIT", "what reads AUDIT is not declared"},
	{"topology", "$JS.API.CONSUMER.DURABLE.CREATE.AUDIT.reader", "what reads AUDIT is not declared"},
	{"topology", "$JS.API.CONSUMER.CREATE.ORDERS.reader", "the operator makes those of the services"},
	{"topology", "$JS.API.CONSUMER.CREATE.DEAD_LETTERS.reader", "no consumer of DEAD_LETTERS is declared"},
	{"topology", "$JS.API.CONSUMER.CREATE.CIRCUITS.reader", "no consumer of CIRCUITS is declared"},
	{"topology", "$JS.API.CONSUMER.CREATE.STATUSES.reader.statuses.>", "normalize has the only one that is declared"},
	{"topology", "$JS.API.CONSUMER.CREATE.NOTIFICATIONS.reader", "a declared one has one provider"},
	{"topology", "$JS.API.CONSUMER.DELETE.STATUSES.normalize", "a consumer made anew starts from the beginning"},
	{"topology", "$JS.API.STREAM.MSG.GET.ORDERS", "it needs no message"},
	{"topology", "$JS.API.CONSUMER.MSG.NEXT.STATUSES.normalize", "it needs no message"},
	{"topology", "orders.sandbox.default.p.o.paid", "it is no part of the flow"},
	{"topology", "notifications.sandbox.default.p", "it is no part of the flow"},

	{"operator", "orders.sandbox.default.p.o.paid", "only normalize writes events"},
	{"operator", "statuses.sandbox.default.p", "nobody makes a fact by hand"},
	{"operator", "resumptions.sandbox.default", "the workers bring forward what waits for a circuit"},
	{"operator", "notifications.sandbox.default.p", "only the gateway authenticates callers"},
	{"operator", "lookup.due.sandbox.default.h", "only the broker says that a look-up is due"},
	{"operator", "expectations.sandbox.default.p.met", "only the role judges"},
	{"operator", "$JS.API.STREAM.MSG.DELETE.OUTCOMES", "what was published stays"},
	{"operator", "$JS.API.STREAM.MSG.DELETE.EXPECTATIONS", "an expectation is withdrawn, not removed"},
	{"operator", "$JS.API.STREAM.MSG.GET.AUDIT", "it writes its own trail and need not read it"},
	{"operator", "$JS.API.STREAM.MSG.DELETE.AUDIT", "its own trail stays"},
	{"operator", "$JS.API.STREAM.PURGE.AUDIT", "its own trail stays"},
	{"operator", "$JS.API.STREAM.PURGE.DEAD_LETTERS", "a dead letter is marked, not removed"},
	{"operator", "$JS.API.STREAM.MSG.DELETE.DEAD_LETTERS", "a dead letter is marked, not removed"},
	{"operator", "$JS.API.STREAM.UPDATE.AUDIT", "streams are declared in the topology"},
	{"operator", "$JS.API.CONSUMER.CREATE.STATUSES.reader", "consumers are declared in the topology"},
	{"operator", "$JS.API.CONSUMER.DELETE.STATUSES.normalize", "consumers are declared in the topology"},
	{"operator", "$JS.API.CONSUMER.RESET.ORDERS.billing", "a service resets its own"},
	{"operator", "$JS.API.CONSUMER.MSG.NEXT.STATUSES.normalize", "those are for normalize"},
	{"operator", "$JS.ACK.STATUSES.normalize.1.1.1.1.0", "an acknowledgement there would lose an event"},

	{"expect", "orders.sandbox.default.p.o.paid", "only normalize judges what is a transition"},
	{"expect", "statuses.sandbox.default.p", "it does not ask, it lets others ask"},
	{"expect", "notifications.sandbox.default.p", "only the gateway authenticates callers"},
	{"expect", "lookup.due.sandbox.default.h", "only the broker says that a look-up is due"},
	{"expect", "dead.data.lookup.sandbox.default.p", "that stage is not its own"},
	{"expect", "$JS.API.STREAM.PURGE.EXPECTATIONS", "it removes one expectation at a time"},
	{"expect", "$JS.API.STREAM.PURGE.OUTCOMES", "what was published stays"},
	{"expect", "$JS.API.STREAM.MSG.DELETE.OUTCOMES", "what was published stays"},
	{"expect", "$JS.API.STREAM.MSG.DELETE.ORDERS", "events are not its to remove"},
	{"expect", "$JS.API.STREAM.UPDATE.EXPECTATIONS", "only topology changes streams"},
	{"expect", "$JS.ACK.STATUSES.normalize.1.1.1.1.0", "an acknowledgement there would lose an event"},
	{"expect", "$JS.ACK.NOTIFICATIONS.lookup-sandbox.ORDERS.expect.1.1.1", "it would be given a webhook"},

	{"console", "orders.sandbox.default.p.o.paid", "only normalize judges what is a transition"},
	{"console", "statuses.sandbox.default.p", "it shows facts and makes none"},
	{"console", "notifications.sandbox.default.p", "only the gateway authenticates callers"},
	{"console", "lookup.parked.sandbox.default.h", "persons act as the user operator"},
	{"console", "dead.data.lookup.sandbox.default.p", "persons act as the user operator"},
	{"console", "circuits.sandbox.default", "persons act as the user operator"},
	{"console", "audit.redrive", "persons act as the user operator"},
	{"console", "expect.sandbox.default.p", "it announces nothing"},
	{"console", "$JS.API.STREAM.MSG.GET.AUDIT", "who has done what is for auditors"},
	{"console", "$JS.API.STREAM.MSG.DELETE.EXPECTATIONS", "it changes nothing"},
	{"console", "$JS.API.CONSUMER.CREATE.OUTCOMES.console", "a consumer could deliver to any subject"},
	{"console", "expectations.sandbox.default.p.met", "only the role judges"},
	{"console", "$JS.API.STREAM.MSG.DELETE.ORDERS", "it changes nothing"},
	{"console", "$JS.API.STREAM.PURGE.DEAD_LETTERS", "it changes nothing"},
	{"console", "$JS.API.CONSUMER.CREATE.ORDERS.console", "a consumer could deliver to any subject"},
	{"console", "$JS.API.CONSUMER.MSG.NEXT.NOTIFICATIONS.lookup-sandbox", "taking messages would lose them"},
	{"console", "$JS.ACK.STATUSES.normalize.1.1.1.1.0", "an acknowledgement there would lose an event"},

	{"announcer", "expectations.sandbox.default.p.met", "only the role judges"},
	{"announcer", "orders.sandbox.default.p.o.paid", "it announces"},
	{"announcer", "notifications.sandbox.default.p", "it announces"},
	{"announcer", "lookup.parked.sandbox.default.h", "it announces, and has nothing looked up by itself"},
	{"announcer", "expect.sandbox.default", "a payment has four tokens"},
	{"announcer", "expect.sandbox.default.p.more", "a payment has four tokens"},
	{"announcer", "$JS.API.STREAM.MSG.GET.EXPECTATIONS", "it can read nothing"},
	{"announcer", "$JS.API.STREAM.INFO.EXPECTATIONS", "it can read nothing"},
	{"announcer", "$JS.API.INFO", "it can read nothing"},
	{"announcer", "$JS.API.STREAM.PURGE.EXPECTATIONS", "it withdraws what it announced by saying so"},

	{"breakglass", "$JS.API.STREAM.DELETE.LOOKUP_RETRIES", "it removes what is parked, not where"},
	{"breakglass", "$JS.API.STREAM.UPDATE.LOOKUP_RETRIES", "it removes what is parked, not where"},
	{"breakglass", "$JS.API.STREAM.MSG.GET.LOOKUP_RETRIES", "the operator may read that"},
	{"breakglass", "$JS.API.STREAM.MSG.GET.DEAD_LETTERS", "the operator may read that"},
	{"breakglass", "$JS.API.STREAM.MSG.DELETE.DEAD_LETTERS", "one at a time they are discarded by the operator"},
	{"breakglass", "$JS.API.STREAM.DELETE.DEAD_LETTERS", "it removes dead letters, not where they are"},
	{"breakglass", "dead.data.lookup.sandbox.default.p", "it stores no dead letter"},
	{"breakglass", "$JS.API.STREAM.PURGE.NOTIFICATIONS", "what was answered with 200 must stay"},
	{"breakglass", "$JS.API.STREAM.MSG.DELETE.NOTIFICATIONS", "what was answered with 200 must stay"},
	{"breakglass", "$JS.API.STREAM.PURGE.AUDIT", "the trail stays"},
	{"breakglass", "$JS.API.CONSUMER.PAUSE.LOOKUP_RETRIES.lookup-due-sandbox", "it removes what is parked and does nothing else"},
	{"breakglass", "lookup.parked.sandbox.default.h", "it parks nothing"},

	{"monitor", "$JS.API.STREAM.MSG.GET.ORDERS", "it reads no message"},
	{"monitor", "$JS.API.DIRECT.GET.ORDERS", "it reads no message"},
	{"monitor", "$JS.API.DIRECT.GET.STATUSES.statuses.sandbox.default.p", "it reads no message"},
	{"monitor", "$JS.API.CONSUMER.MSG.NEXT.STATUSES.normalize", "it reads no message"},
	{"monitor", "$JS.API.CONSUMER.CREATE.ORDERS", "a consumer of its own would be a way to read"},
	{"monitor", "$JS.API.CONSUMER.DELETE.STATUSES.normalize", "it looks, it changes nothing"},
	{"monitor", "$JS.API.CONSUMER.PAUSE.STATUSES.normalize", "it looks, it changes nothing"},
	{"monitor", "$JS.API.STREAM.UPDATE.ORDERS", "it looks, it changes nothing"},
	{"monitor", "$JS.API.STREAM.PURGE.ORDERS", "it looks, it changes nothing"},
	{"monitor", "$JS.API.STREAM.DELETE.ORDERS", "it looks, it changes nothing"},
	{"monitor", "$JS.API.STREAM.MSG.DELETE.ORDERS", "it looks, it changes nothing"},
	{"monitor", "$JS.API.STREAM.SNAPSHOT.ORDERS", "a snapshot holds every message"},
	{"monitor", "orders.sandbox.default.p.o.paid", "it is no part of the flow"},
	{"monitor", "$JS.ACK.STATUSES.normalize.1.1.1.1.0", "an acknowledgement there would lose an event"},

	{"forget", "$JS.API.STREAM.PURGE.ORDERS", "it erases one message at a time, so a mistake empties no stream"},
	{"forget", "$JS.API.STREAM.PURGE.NOTIFICATIONS", "it erases one message at a time, so a mistake empties no stream"},
	{"forget", "$JS.API.STREAM.DELETE.ORDERS", "it erases messages, not where they are"},
	{"forget", "$JS.API.STREAM.MSG.DELETE.AUDIT", "the trail stays"},
	{"forget", "$JS.API.STREAM.MSG.DELETE.FORGOTTEN", "what was erased stays known as that"},
	{"forget", "$JS.API.STREAM.MSG.GET.AUDIT", "it writes its own trail and need not read it"},
	{"forget", "audit.redrive", "it does nothing that has another name"},
	{"forget", "orders.sandbox.default.p.o.paid", "only normalize writes events"},
	{"forget", "lookup.parked.sandbox.default.h", "it parks nothing"},
	{"forget", "dead.data.lookup.sandbox.default.p", "it gives nothing up"},
	{"operator", "forgotten.sandbox.default.h", "nothing is erased that the user forget has not erased"},
	{"operator", "$JS.API.STREAM.MSG.DELETE.ORDERS", "it erases nothing"},
	{"lookup", "forgotten.sandbox.default.h", "a payment is erased by an operator only"},
	{"normalize", "forgotten.sandbox.default.h", "a payment is erased by an operator only"},

	{"backup", "$JS.API.STREAM.DELETE.ORDERS", "a restore overwrites nothing"},
	{"backup", "$JS.API.STREAM.PURGE.ORDERS", "a restore overwrites nothing"},
	{"backup", "$JS.API.STREAM.RESTORE.OTHER", "it makes the declared streams"},
	{"backup", "$JS.API.STREAM.UPDATE.ORDERS", "streams are declared in the topology"},
	{"backup", "$JS.API.CONSUMER.PAUSE.ORDERS.billing", "what a service reads is its own matter"},
	{"backup", "$JS.API.CONSUMER.DELETE.STATUSES.normalize", "it pauses"},
	{"backup", "$JS.API.CONSUMER.MSG.NEXT.STATUSES.normalize", "it takes no message from a worker"},
	{"backup", "$JS.ACK.STATUSES.normalize.1.1.1.1.0", "an acknowledgement there would lose an event"},
	{"backup", "orders.sandbox.default.p.o.paid", "it writes its entries on AUDIT only"},
	{"backup", "audit.redrive", "it does nothing that has another name"},
	{"operator", "$JS.API.CONSUMER.PAUSE.ORDERS.billing", "what a service reads is its own matter"},
	{"operator", "$JS.API.STREAM.SNAPSHOT.AUDIT", "its own trail stays unread"},

	{"viewer", "orders.sandbox.default.p.o.paid", "it listens"},
	{"viewer", "notifications.sandbox.default.p", "it listens"},
	{"viewer", "$JS.API.STREAM.MSG.GET.ORDERS", "it listens"},
	{"viewer", "$JS.API.STREAM.MSG.GET.OUTCOMES", "it listens"},
	{"viewer", "$JS.API.STREAM.INFO.ORDERS", "it listens"},
	{"viewer", "anything", "it listens"},
}

// subscribing lists what must not be listened to. Every published message
// passes by a core subscription, whatever stream takes it.
var subscribing = []probe{
	{"gateway", ">", "it may hear its own inbox only"},
	{"gateway", "orders.>", "it faces the internet and needs no event"},
	{"gateway", "notifications.>", "it cannot read what other gateways stored"},
	{"gateway", "_INBOX_lookup.>", "answers to lookup are not its own"},
	{"gateway", "_INBOX.>", "nobody uses the shared prefix"},
	{"lookup", "orders.>", "it needs no event"},
	{"lookup", "notifications.>", "it takes them from its consumer, each once"},
	{"lookup", "_INBOX_normalize.>", "answers to normalize are not its own"},
	{"normalize", "notifications.>", "it works on observations"},
	{"normalize", "statuses.>", "it takes them from its consumer, each once"},
	{"normalize", "_INBOX_lookup.>", "answers to lookup are not its own"},
	{"sweep", "notifications.>", "it reads them from the stream, one at a time"},
	{"sweep", "orders.>", "it reads them from the stream, one at a time"},
	{"sweep", "_INBOX_lookup.>", "answers to lookup are not its own"},
	{"expect", "orders.>", "it takes them from its consumer, each once"},
	{"expect", "expectations.>", "it writes them"},
	{"expect", "_INBOX_lookup.>", "answers to lookup are not its own"},
	{"console", "orders.>", "it reads them one by one"},
	{"console", "_INBOX_operator.>", "answers to the operator are not its own"},
	{"announcer", "expect.>", "it may hear its own inbox only"},
	{"announcer", "expectations.>", "a service that wants outcomes has an account of its own"},
	{"announcer", "orders.>", "it may hear its own inbox only"},
	{"announcer", "_INBOX_expect.>", "answers to the role are not its own"},
	{"topology", "orders.>", "it needs no message"},
	{"topology", "$JS.EVENT.ADVISORY.>", "it needs no message"},
	{"operator", "notifications.>", "it reads what is stored"},
	{"operator", "_INBOX_lookup.>", "answers to lookup are not its own"},
	{"breakglass", "lookup.>", "it removes what is parked, unseen"},
	{"monitor", "orders.>", "it reads no message"},
	{"monitor", "$JS.EVENT.ADVISORY.>", "it asks, it does not listen"},
	{"monitor", "_INBOX_operator.>", "answers to operator are not its own"},
	{"forget", "orders.>", "it reads what is stored"},
	{"forget", "_INBOX_operator.>", "answers to the operator are not its own"},
	{"viewer", ">", "it sees events only"},
	{"viewer", "notifications.>", "it sees events only"},
	{"viewer", "statuses.>", "it sees events only"},
	{"viewer", "dead.>", "dead letters may say more than events do"},
	{"viewer", "_INBOX_lookup.>", "answers to lookup are not its own"},
}

func TestUsersCannotPublishWhatIsNotTheirs(t *testing.T) {
	t.Parallel()
	b := start(t)
	for _, p := range publishing {
		nc, _ := b.connect(p.role, silent)
		testbench.Must(t, nc.Publish(p.subject, nil))
		refused(t, nc, p)
	}
}

func TestUsersCannotListenToWhatIsNotTheirs(t *testing.T) {
	t.Parallel()
	b := start(t)
	for _, p := range subscribing {
		nc, _ := b.connect(p.role, silent)
		if _, err := nc.SubscribeSync(p.subject); err != nil {
			t.Fatal(err)
		}
		refused(t, nc, p)
	}
}

// silent keeps the expected refusals off the terminal.
var silent = nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})

// refused waits for the broker's word on what was sent before. The answer to
// the flush comes after it.
func refused(t *testing.T, nc *nats.Conn, p probe) {
	t.Helper()
	if err := nc.FlushWithContext(testbench.Context(t)); err != nil {
		t.Fatalf("flush: %v", err)
	}
	if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("%s may use %s (last error %v), although %s", p.role, p.subject, err, p.because)
	}
	nc.Close()
}

func TestNobodyConnectsWithoutTheirPassword(t *testing.T) {
	t.Parallel()
	b := start(t)
	for _, tc := range []struct {
		name string
		user nats.Option
	}{
		{"nobody", nats.Name("anonymous")},
		{"an unknown user", nats.UserInfo("admin", password("admin"))},
		{"an empty password", nats.UserInfo("gateway", "")},
		{"the password of another user", nats.UserInfo("gateway", password("lookup"))},
	} {
		nc, err := nats.Connect(b.server.ClientURL(), tc.user, nats.Timeout(time.Minute))
		if err == nil {
			nc.Close()
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: got %v, want an authorization violation", tc.name, err)
		}
	}
}
