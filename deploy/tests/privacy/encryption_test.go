package privacy

import (
	"bytes"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/workertest"
)

// encrypted turns the encryption of nats.conf on, as OPERATING.md says.
func encrypted(text string) string {
	text = strings.Replace(text, "  # cipher: chachapoly\n", "  cipher: chachapoly\n", 1)
	return strings.Replace(text, "  # key: $NATS_STORE_KEY\n", "  key: \"a-key-of-the-store-for-this-test-only\"\n", 1)
}

// readable are texts that every message, header and subject of the streams has one of.
var readable = []string{"notifications.", "statuses.", "orders.", "dead.", "audit.", `"provider"`, "traceparent", "sandbox", "Nats-"}

// scheduleFile is the broker's one file of a stream that it does not encrypt (nats-server 2.15.3,
// server/filestore.go, writeMsgSchedulingState). It has the subjects of message schedules.
const scheduleFile = "sched.db"

// hashed is what a schedule's subject is, which the broker writes as it stands.
var hashed = regexp.MustCompile(`lookup\.parked\.[a-z0-9-]+\.[a-z0-9-]+\.[0-9a-f]{40}`)

// unreadable searches the files of an encrypted store. It returns how many schedules their one
// plain file has.
func unreadable(t *testing.T, store string, wanted ...canary) (schedules int) {
	t.Helper()
	there, files := newSearch(t, wanted), 0
	eachFile(t, store, func(name string, data []byte) {
		files++
		there.in("the broker's file "+name, data)
		if filepath.Base(name) == scheduleFile {
			schedules += len(hashed.FindAll(data, -1))
			data = hashed.ReplaceAll(data, nil)
		}
		for _, text := range readable {
			if at := bytes.Index(data, []byte(text)); at >= 0 {
				t.Errorf("the broker's file %s can be read: %q", name, data[max(0, at-20):min(len(data), at+60)])
				return
			}
		}
	})
	if files < 20 {
		t.Errorf("the store has %d files only", files)
	}
	return schedules
}

// TestEncryptedStoreHoldsNothingReadable runs a deployment on the shipped configuration with
// encryption at rest, and reads the broker's files.
func TestEncryptedStoreHoldsNothingReadable(t *testing.T) {
	t.Parallel()
	p := newPlant(t, encrypted)
	p.live()
	bench := workertest.Bench{Bench: p.Bench}
	tokens, err := subject.Keyed(hashKey)
	p.Must(err)
	bench.Tokens = tokens
	bench.Schedule(record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: ids[3].text, Order: erasedOrder,
		Cause: order.CauseSweep, Reason: "sweep", DueAt: time.Now().Add(time.Hour).UTC(),
	})
	for _, role := range roles {
		p.stop(role)
	}
	p.stop("nats-server")
	wanted := append(erasedTexts(), ids...)
	if schedules := unreadable(t, filepath.Join(p.dir, "store"), wanted...); schedules == 0 {
		t.Errorf("no schedule is readable in %s: the documents name it as the exception", scheduleFile)
	}
}

// keyed is a broker with a key, and with the key before it.
func keyed(key, before string) func(*server.Options) {
	return func(o *server.Options) {
		o.JetStreamKey, o.JetStreamOldKey, o.JetStreamCipher = key, before, server.ChaCha
	}
}

// TestStoreIsEncryptedAfterwardsAndItsKeyChanges does what OPERATING.md says: it turns the
// encryption on for a store that was written in plain, and then changes the key. Nothing is
// lost. What was written before becomes unreadable when the broker has read its block, which
// it does at once.
func TestStoreIsEncryptedAfterwardsAndItsKeyChanges(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox")
	store := b.Server.JetStreamConfig().StoreDir
	const plain, first, second = "", "the first key of this store", "the second key of this store"
	for i, keys := range [][2]string{{plain, plain}, {first, plain}, {second, first}, {second, plain}} {
		if i > 0 {
			b.Stop()
			b.Restart(keyed(keys[0], keys[1]))
		}
		payment := []string{"one-4711", "two-4711", "three-4711", "four-4711"}[i]
		b.Until("the broker to take a notification", func() bool {
			_, err := b.JS.Publish(b.Ctx, b.Unit(payment).Notification(), []byte(`{"provider":"sandbox"}`))
			return err == nil
		})
		if got := len(b.Messages(subject.Notifications, ">")); got != i+1 {
			t.Fatalf("with the keys %q there are %d notifications, want %d", keys, got, i+1)
		}
	}
	b.Stop()
	unreadable(t, store, canary{kind: "first", text: "one-4711"}, canary{kind: "second", text: "two-4711"}, canary{kind: "third", text: "three-4711"})
}
