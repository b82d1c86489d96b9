package webhook

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strings"

	"github.com/valyala/fasthttp"

	"arauto/schemas/provider"
)

// headers shows adapters the request's headers without copying them all.
// fasthttp spells names its own way (event_type becomes Event_type) and finds
// them whatever the spelling of the question. Content-Type, Host and
// User-Agent are the exception to "every value": of those it keeps the last.
type headers struct{ h *fasthttp.RequestHeader }

// Values returns copies, because fasthttp overwrites the request's memory
// with the next one.
func (v headers) Values(name string) []string {
	raw := v.h.PeekAll(name)
	if len(raw) == 0 {
		return nil
	}
	values := make([]string, len(raw))
	for i, value := range raw {
		values[i] = string(value)
	}
	return values
}

// maxStoredHeader is how many bytes of a header are worth keeping; what is
// longer says nothing that the adapters look at.
const maxStoredHeader = 256

// kept are the inbound headers that are stored with a notification. They tell
// what the provider meant and hold neither secrets nor personal data.
func kept(h provider.Header) map[string]string {
	stored := map[string]string{}
	for _, name := range []string{"event-type", "event_type", "content-type"} {
		if value := strings.Join(h.Values(name), ", "); value != "" && len(value) <= maxStoredHeader {
			stored[name] = value
		}
	}
	if len(stored) == 0 {
		return nil
	}
	return stored
}

// traceparent returns the caller's W3C trace context when there is exactly
// one and it is valid, else that of a new trace. A later version may have
// fields that we cannot pass on unread, so only version 00 counts.
func traceparent(h provider.Header) string {
	values := h.Values("traceparent")
	if len(values) != 1 {
		return newTrace()
	}
	parts := strings.Split(values[0], "-")
	if len(parts) == 4 && parts[0] == "00" &&
		lowerHex(parts[1], 32) && lowerHex(parts[2], 16) && lowerHex(parts[3], 2) &&
		parts[1] != noTrace && parts[2] != noTrace[:16] {
		return values[0]
	}
	return newTrace()
}

// noTrace is the trace id that the standard forbids; half of it is the parent
// id that it forbids.
const noTrace = "00000000000000000000000000000000"

func lowerHex(s string, length int) bool {
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return len(s) == length
}

// newTrace starts a sampled W3C trace. Its ids must be unique, not secret.
func newTrace() string {
	var id [24]byte
	for i := 0; i < len(id); i += 8 {
		binary.BigEndian.PutUint64(id[i:], rand.Uint64())
	}
	// Neither the trace id nor the parent id may be all zeros.
	id[0] |= 1
	id[16] |= 1
	text := make([]byte, 0, 55)
	text = hex.AppendEncode(append(text, "00-"...), id[:16])
	text = hex.AppendEncode(append(text, '-'), id[16:])
	return string(append(text, "-01"...))
}

// encoded reports whether the body is compressed or otherwise coded. We read
// bodies as they stand: expanding one would defeat the size limit.
func encoded(h provider.Header) bool {
	for _, value := range h.Values("content-encoding") {
		for coding := range strings.SplitSeq(value, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
				return true
			}
		}
	}
	return false
}
