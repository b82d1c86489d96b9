// Package topology declares the streams and durable consumers as data, applies
// them, and reports where a broker differs from them, field by field. Nothing
// else creates or changes a stream or a durable consumer.
package topology

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/subject"
)

// Settings are what differs between deployments.
type Settings struct {
	Replicas  int      // Copies of each stream: 1 without a cluster, 3 with one.
	Store     int64    // Bytes of JetStream storage that the broker grants us.
	Providers []string // Slugs of the providers that have an account; each gets its own consumers.
	Others    []string // Slugs of all other providers. A consumer of one is made no more, and stays where there is one.
}

// AckWait is the ack wait of every durable consumer: how long a message may go without a
// heartbeat from the worker that holds it. Workers send one every third of it. The messages
// of a killed worker are redelivered after it.
const AckWait = 9 * time.Second

// SubscriberAckWait is the ack wait of a subscriber's consumer. It is longer than that of
// Arauto's own, because subscribers in other languages may send no heartbeats.
const SubscriberAckWait = 30 * time.Second

// maxAckPending is how many messages of one consumer all workers may hold together. It is far
// above what they handle at a time, because a worker holds thousands of an account that floods.
const maxAckPending = 16384

// Share of the store, in percent, that each bounded stream may fill. Together
// they stay below 80, because LOOKUP_RETRIES must not have a bound (the broker
// forces Discard Old on it) and a schedule that finds no room when it is due
// would be stuck.
const (
	notificationsShare = 25
	ordersShare        = 23
	orderPaymentsShare = 4 // An entry takes a seventh of the bytes of a payment's last event in ORDERS.
	statusesShare      = 13
	deadLettersShare   = 5
	auditShare         = 3
	advisoriesShare    = 1
	circuitsShare      = 1
	expectationsShare  = 1
	outcomesShare      = 3
)

// maxExpectation bounds the body of an expected payment, in bytes: as the HTTP route does.
const maxExpectation = 16 << 10

// LEASES holds a kilobyte per worker, of which the last is a few seconds old, or its
// worker has ended.
const (
	leasesBytes = 1 << 20
	leasesAge   = 2 * time.Minute
)

// FORGOTTEN has room for 20,000 payments that were erased (measured: 200 B each). They are
// known for as long as AUDIT says who erased them.
const (
	forgottenBytes = 4 << 20
	forgottenAge   = auditAge
)

// auditAge is how long AUDIT keeps an entry.
const auditAge = 400 * day

const day = 24 * time.Hour

// Streams lists every stream.
func Streams(s Settings) []jetstream.StreamConfig {
	unit, waiting := subject.Filter("", ""), subject.FilterWaiting("", "")
	share := func(percent int64) int64 { return s.Store / 100 * percent }
	streams := []jetstream.StreamConfig{
		{
			Name:        subject.Notifications,
			Description: "Accepted webhooks. Full means 503 at the gateway, never a silent loss.",
			Subjects:    []string{unit.Notification()},
			Discard:     jetstream.DiscardNew, MaxBytes: share(notificationsShare),
			Duplicates: 2 * time.Minute, AllowAtomicPublish: true,
		},
		{
			Name:        subject.LookupRetries,
			Description: "Look-ups that wait: one schedule per payment, fired by the broker.",
			Subjects:    []string{waiting.Parked(), waiting.Due()},
			Retention:   jetstream.WorkQueuePolicy,
			Discard:     jetstream.DiscardOld, MaxBytes: -1, // Both forced by schedules.
			Duplicates:        2 * time.Minute,
			AllowMsgSchedules: true, AllowRollup: true, AllowMsgTTL: true, AllowAtomicPublish: true,
		},
		{
			Name:        subject.Statuses,
			Description: "Observations: what the provider said, in the order in which it was written.",
			Subjects:    []string{unit.Status()},
			Discard:     jetstream.DiscardNew, MaxBytes: share(statusesShare), MaxAge: 30 * day,
			Duplicates: 2 * time.Minute, AllowAtomicPublish: true,
		},
		{ // Before ORDERS, so that the index is never the younger one of a new deployment.
			Name:        subject.OrderPayments,
			Description: "Which payments an order has: one message without a body for each.",
			Subjects:    []string{unit.OfOrder(subject.Any)},
			Discard:     jetstream.DiscardNew, MaxBytes: share(orderPaymentsShare), MaxMsgsPerSubject: 1,
			Duplicates: 30 * time.Second, AllowAtomicPublish: true, // An id is repeated within the committer's timeout.
		},
		{
			Name:        subject.Orders,
			Description: "The order log: one event per transition. It is the state.",
			Subjects:    []string{unit.Event(subject.Any, subject.Any)},
			Discard:     jetstream.DiscardNew, MaxBytes: share(ordersShare),
			Duplicates: 2 * time.Minute, AllowAtomicPublish: true,
		},
		{
			Name:        subject.DeadLetters,
			Description: "What could not be finished, with its class and cause.",
			Subjects:    []string{unit.DeadLetter(subject.Any, subject.Any)},
			Discard:     jetstream.DiscardNew, MaxBytes: share(deadLettersShare), MaxAge: 90 * day,
			Duplicates: 10 * time.Minute,
		},
		{
			Name:        subject.Audit,
			Description: "What operators did.",
			Subjects:    []string{subject.AllAudit},
			Discard:     jetstream.DiscardOld, MaxBytes: share(auditShare), MaxAge: auditAge,
			Duplicates: 2 * time.Minute,
		},
		{
			Name:        subject.Advisories,
			Description: "Second net: the broker's word that a message was given up.",
			Subjects: []string{
				"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>",
				"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>",
			},
			Discard: jetstream.DiscardOld, MaxBytes: share(advisoriesShare), MaxAge: 7 * day,
			Duplicates: 2 * time.Minute,
		},
		{
			Name:        subject.Circuits,
			Description: "Whether an account's look-ups are stopped: one record per account, repeated to every worker once it is stored.",
			Subjects:    []string{subject.Circuit(subject.Any, subject.Any), subject.Resumption(subject.Any, subject.Any)},
			Discard:     jetstream.DiscardNew, MaxBytes: share(circuitsShare), MaxMsgsPerSubject: 1,
			Duplicates: 2 * time.Minute,
			RePublish:  &jetstream.RePublish{Source: subject.AllCircuits, Destination: subject.AllCircuitChanges},
		},
		{
			Name:        subject.Leases,
			Description: "Which workers share the rate limits: one lease per worker, repeated to every worker once it is stored.",
			Subjects:    []string{subject.Lease(subject.Any)},
			Discard:     jetstream.DiscardOld, MaxBytes: leasesBytes, MaxMsgsPerSubject: 1, MaxAge: leasesAge,
			Duplicates: leasesAge,
			RePublish:  &jetstream.RePublish{Source: subject.AllLeases, Destination: subject.AllLeaseChanges},
		},
		{
			Name:        subject.Expectations,
			Description: "Payments that internal services expect: one per payment, removed when settled.",
			Subjects:    []string{unit.Expected()},
			Discard:     jetstream.DiscardNew, MaxBytes: share(expectationsShare), MaxMsgsPerSubject: 1,
			MaxMsgSize: maxExpectation,
			Duplicates: 2 * time.Minute,
		},
		{
			Name:        subject.Outcomes,
			Description: "What came of expected payments.",
			Subjects:    []string{unit.Outcome(subject.Any)},
			Discard:     jetstream.DiscardNew, MaxBytes: share(outcomesShare), MaxAge: 90 * day,
			Duplicates: 2 * time.Minute,
		},
		{
			Name:        subject.Forgotten,
			Description: "Payments that an operator has erased, by a keyed hash: the next event of one begins a log that says restarted.",
			Subjects:    []string{waiting.Forgotten()},
			Discard:     jetstream.DiscardNew, MaxBytes: forgottenBytes, MaxMsgsPerSubject: 1, MaxAge: forgottenAge,
			Duplicates: 2 * time.Minute,
		},
	}
	for i := range streams {
		streams[i].Storage = jetstream.FileStorage
		streams[i].Replicas = max(s.Replicas, 1)
		streams[i].Metadata = watchStream(streams[i].Replicas)
	}
	return streams
}

// RetriesRoom is how many bytes of the store the bounded streams leave to
// LOOKUP_RETRIES.
func RetriesRoom(s Settings) int64 {
	room := s.Store
	for _, stream := range Streams(s) {
		room -= max(stream.MaxBytes, 0)
	}
	return room
}

// Consumer is a durable consumer and the stream that it reads.
type Consumer struct {
	Stream string
	jetstream.ConsumerConfig
}

// Consumers lists every durable consumer that there must be.
func Consumers(s Settings) []Consumer {
	return append(consumersOf(s.Providers),
		durable(subject.Statuses, subject.NormalizeConsumer, subject.AllStatuses, "Observations to fold into events."),
		durable(subject.Orders, subject.ExpectConsumer, subject.AllEvents, "Events to judge expected payments by."),
		durable(subject.Advisories, subject.AdvisoriesConsumer, "", "Messages that the broker gave up, for dead letters."),
	)
}

// Leftovers lists the durable consumers that may be left of a provider that had an account,
// or of a version that made those of every provider. They are worked on while they are there.
func Leftovers(s Settings) []Consumer { return consumersOf(s.Others) }

func consumersOf(providers []string) (all []Consumer) {
	for _, provider := range providers {
		all = append(all,
			durable(subject.Notifications, subject.LookupConsumer(provider), subject.NotificationsOf(provider),
				"Look-ups for fresh webhooks of "+provider+"."),
			durable(subject.LookupRetries, subject.LookupDueConsumer(provider), subject.DueOf(provider),
				"Look-ups of "+provider+" that were scheduled and are due."),
		)
	}
	return all
}

// durable has no delivery limit: only a confirmed ack, after the result was stored, removes
// a message from a consumer. It has no BackOff either, which would change the delay of a
// nak.
func durable(stream, name, filter, description string) Consumer {
	return Consumer{Stream: stream, ConsumerConfig: jetstream.ConsumerConfig{
		Durable: name, FilterSubject: filter, Description: description, Metadata: watchConsumer(),
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: AckWait,
		MaxDeliver: -1, MaxAckPending: maxAckPending,
	}}
}

// SubscriberPending is how many events a subscriber's consumer delivers before one is acked.
const SubscriberPending = 1000

// Subscriber is the durable consumer of a service that subscribes, on ORDERS or OUTCOMES,
// named like the service. Without filters it delivers every event, from the first stored one.
func Subscriber(name string, filters ...string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: name, FilterSubjects: filters,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: SubscriberAckWait,
		MaxDeliver: -1, MaxAckPending: SubscriberPending,
	}
}
