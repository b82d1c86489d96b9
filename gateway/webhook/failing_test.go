package webhook

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
)

// TestFailingAddressesAreBounded has more addresses fail than are remembered. An
// address that fails again and again stays limited.
func TestFailingAddressesAreBounded(t *testing.T) {
	t.Parallel()
	f, err := newFailures(FailureLimit{Rate: 1, Burst: 1})
	testbench.Must(t, err)
	now, stubborn := time.Now(), netip.MustParseAddr("203.0.113.7")
	if !f.allow(stubborn, now) {
		t.Error("the first failure is limited")
	}
	for i := range uint32(3 * maxFailing) {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], i)
		if !f.allow(netip.AddrFrom4(b), now) {
			t.Fatalf("address %d is limited at its first failure", i)
		}
		if i%1000 == 0 && f.allow(stubborn, now) {
			t.Fatalf("after %d others the address is not limited", i)
		}
	}
	if n := f.clients.Len(); n != maxFailing {
		t.Errorf("%d addresses are remembered, want %d", n, maxFailing)
	}
}
