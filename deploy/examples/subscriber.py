"""A service that posts every order event to its books, by nats-py and the library of CloudEvents."""
import asyncio, collections, json, os, sys, urllib.request
import nats
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event

user, url = os.environ["NATS_USER"], os.environ["BOOKS_URL"]
handled = set()  # Ids of events that are booked; keep those of your payments in your database instead.
highest = collections.defaultdict(int)  # By payment: the highest transition that is booked.
turns = collections.defaultdict(asyncio.Lock)  # By payment: its events one after the other, as they came.

def book(event):
    """Stores what the event says. It raises for an event that the books refuse."""
    urllib.request.urlopen(urllib.request.Request(url, json.dumps(event).encode(), method="POST"), timeout=30).close()

async def gap(js, m, log, event):
    """Says why the transitions before the event were not delivered, "" if they were."""
    first, last, here = highest[log] + 1, event["transition"] - 1, m.metadata.sequence.stream
    if last < first: return ""
    stored = (await js.get_msg("ORDERS", seq=1, subject=log + ".>", next=True)).seq
    why = "compacted" if stored >= here else "missed" if first > 1 else ""
    return why and f"transitions {first} to {last} of {event['payment']} were {why}"

async def heartbeat(m):
    while True:
        await asyncio.sleep(1)
        await m.in_progress()

async def finish(js, m, log):
    """Handles one event until it is booked, and acks it only then."""
    beating, delay, looked = asyncio.create_task(heartbeat(m)), 0.1, False
    async with turns[log]:
        while True:
            try:
                cloud = from_binary_event(HTTPMessage({**m.headers, "content-type": "application/json"}, m.data))
                if cloud.get_id() not in handled:
                    event = cloud.get_data()
                    missing, looked = "" if looked else await gap(js, m, log, event), True
                    print(missing, end="\n" if missing else "", file=sys.stderr, flush=True)
                    await asyncio.to_thread(book, event)
                    handled.add(cloud.get_id())
                    highest[log] = max(highest[log], event["transition"])
                beating.cancel()
                return await m.ack()
            except Exception as problem:  # The payment's later events wait.
                print(f"{m.subject}: {problem}", file=sys.stderr, flush=True)
                delay = await asyncio.sleep(delay, min(2 * delay, 60))

async def main():
    password, inbox, tasks = os.environ["NATS_PASSWORD"], f"_INBOX_{user}", set()
    nc = await nats.connect(os.environ["NATS_URL"], user=user, password=password, inbox_prefix=inbox, max_reconnect_attempts=-1)
    js = nc.jetstream()
    events = await js.pull_subscribe_bind(consumer=user, stream="ORDERS", inbox_prefix=f"{inbox}.".encode())
    while True:
        try:
            tasks |= {asyncio.create_task(finish(js, m, ".".join(m.subject.split(".")[:4]))) for m in await events.fetch(50, timeout=5)}
        except nats.errors.Error:
            await asyncio.sleep(0.1)  # No event, or no broker.
        tasks -= {task for task in tasks if task.done()}

asyncio.run(main())
