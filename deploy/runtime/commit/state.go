package commit

// state is where a message stands between Store and its result.
type state uint8

const (
	queued  state = iota + 1 // Not sent yet.
	single                   // Sent alone, without an answer.
	batched                  // Sent in the batch that has no answer yet.
	inDoubt                  // Sent in a batch whose answer is missing, and sent again alone.
	done                     // Its caller has the result.
	states
)

// event is what happens to a message.
type event uint8

const (
	sentAlone    event = iota
	sentInBatch        // It is part of a batch that is sent.
	stored             // The broker has stored it now.
	known              // The broker had stored its id before: a duplicate.
	refused            // The broker, or the client, refused it or every message.
	unsettled          // The broker refused it for as long as another write is in flight.
	overdue            // It has no answer after half of the timeout.
	batchRefused       // The broker refused its batch and stored nothing of it.
	batchSilent        // Its batch has no answer after half of the timeout.
	disconnected       // The connection broke.
	expired            // Its timeout has passed, or its caller's context ended.
	events
)

// action is what a transition makes the Committer do.
type action uint8

const (
	nothing    action = iota
	resend            // Send the message alone, under the same id.
	resendSoon        // The same at the next tick, or with the next connection.
	finish            // Give the caller its result.
)

type transition struct {
	to state // 0 if the event means nothing in that state.
	do action
}

// transitions is the whole life of a message. An event without an entry is ignored: it is
// about an attempt that no longer counts.
//
// A duplicate is no proof of durability in doubt. nats-server 2.15.3 (server/stream.go,
// processJetStreamAtomicBatchMsg) sends no answer to a batch whose sync failed, yet keeps
// its ids in the duplicate window, and a power cut would lose the messages. Before this may
// go, check that a failed sync there is answered with an error or removes the ids. The
// duplicate ends the doubt all the same: the broker answers in order, so an ack of the batch
// would have come before it.
//
// A message that is overdue is sent again, because nats-server 2.15.3 (server/stream.go,
// processJetStreamMsg, canRespond) sends no answer to a message that a replica received as
// leader and applied after it lost the leadership. Before this may go, check that a former
// leader answers, or that the client learns of the change.
var transitions = [states][events]transition{
	queued: {
		sentAlone:    {single, nothing},
		sentInBatch:  {batched, nothing},
		disconnected: {done, finish},
		expired:      {done, finish},
	},
	single: {
		stored:       {done, finish},
		known:        {done, finish},
		refused:      {done, finish},
		unsettled:    {single, resendSoon},
		overdue:      {single, resend},
		disconnected: {single, resendSoon},
		expired:      {done, finish},
	},
	batched: {
		stored:       {done, finish},
		batchRefused: {single, resend},
		batchSilent:  {inDoubt, resend},
		disconnected: {inDoubt, resendSoon},
		expired:      {done, finish},
	},
	inDoubt: {
		stored:       {done, finish},
		known:        {done, finish},    // With errUnproven.
		batchRefused: {single, nothing}, // Its own attempt is under way.
		refused:      {done, finish},
		unsettled:    {inDoubt, resendSoon},
		disconnected: {inDoubt, resendSoon},
		expired:      {done, finish},
	},
}
