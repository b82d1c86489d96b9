// A service that posts every order event to its books, by CloudEvents and NATS's own client.
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { HTTP } from "cloudevents";

const { NATS_URL, NATS_USER: user, NATS_PASSWORD: pass, BOOKS_URL } = process.env;
const nc = await connect({ servers: NATS_URL, user, pass, inboxPrefix: `_INBOX_${user}`, maxReconnectAttempts: -1 });
const jsm = await jetstreamManager(nc, { checkAPI: false }); // The account may not use $JS.API.INFO.
const consumer = await jetstream(nc, { checkAPI: false }).consumers.get("ORDERS", user);
const handled = new Set(); // Ids of events that are booked; keep those of your payments in your database instead.
const highest = new Map(); // By payment: the highest transition that is booked.
const queues = new Map(); // By payment: the work on its events, one after the other.
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// book stores what the event says. It throws for an event that the books refuse.
async function book(event) {
  const answer = await fetch(BOOKS_URL, { method: "POST", body: JSON.stringify(event.data) });
  if (!answer.ok) throw new Error(`the books refuse transition ${event.data.transition} of ${event.data.payment}: ${answer.status}`);
}

// gap says why the transitions before the event were not delivered, "" if they were.
async function gap(m, log, { payment, transition }) {
  const after = highest.get(log) ?? 0;
  if (transition <= after + 1) return "";
  const first = await jsm.streams.getMessage("ORDERS", { seq: 1, next_by_subj: `${log}.>` });
  if (first && first.seq === m.seq) return `transitions ${after + 1} to ${transition - 1} of ${payment} were compacted`;
  return after > 0 ? `transitions ${after + 1} to ${transition - 1} of ${payment} were missed` : "";
}

// finish handles one event until it is booked, and acks it only then.
async function finish(m, log, heartbeat) {
  let looked = false;
  for (let delay = 100; ; delay = Math.min(2 * delay, 60_000)) {
    try {
      const headers = { "content-type": "application/json" };
      for (const [name, values] of m.headers) headers[name.toLowerCase()] = values[0];
      const event = HTTP.toEvent({ headers, body: m.string() });
      const missing = looked || handled.has(event.id) ? "" : await gap(m, log, event.data);
      looked = true;
      if (missing) console.error(missing);
      if (!handled.has(event.id)) await book(event);
      handled.add(event.id);
      highest.set(log, Math.max(event.data.transition, highest.get(log) ?? 0));
      clearInterval(heartbeat);
      return m.ack();
    } catch (problem) {
      console.error(problem.message); // The payment's later events wait.
      await pause(delay);
    }
  }
}

for await (const m of await consumer.consume({ max_messages: 100 })) {
  const log = m.subject.split(".").slice(0, 4).join("."); // The payment's.
  const heartbeat = setInterval(() => m.working(), 1_000); // Also while it waits for the payment's earlier events.
  queues.set(log, (queues.get(log) ?? Promise.resolve()).then(() => finish(m, log, heartbeat)));
}
