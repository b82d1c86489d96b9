package webhook

import (
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"arauto/deploy/runtime/trace"
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

// kept are the inbound headers that are stored with a notification. They tell
// what the provider meant. Their values pass the filter of an adapter's fields,
// so that they hold no personal data; a media type loses its parameters, which
// may be any text. Of several values the first that passes is stored.
func kept(h provider.Header) map[string]string {
	stored := map[string]string{}
	for _, name := range []string{"event-type", "event_type", "content-type"} {
		for _, value := range h.Values(name) {
			if name == "content-type" {
				value, _, _ = strings.Cut(value, ";")
			}
			if code := provider.Code(strings.TrimSpace(value)); code != "" {
				stored[name] = code
				break
			}
		}
	}
	if len(stored) == 0 {
		return nil
	}
	return stored
}

// traceparent returns the caller's W3C trace context when there is exactly
// one and it is valid, else that of a new trace.
func traceparent(h provider.Header) string {
	if values := h.Values(trace.Header); len(values) == 1 && trace.Valid(values[0]) {
		return values[0]
	}
	return trace.New()
}

// contentEncoding is what has been done to a body on its way.
type contentEncoding int

const (
	plain   contentEncoding = iota
	packed                  // With gzip, once.
	foreign                 // In a way that is not undone here.
)

// unsupportedEncodings are the other content codings that are registered (IANA, HTTP
// Content Coding Registry, read in 2026-11): of a body in one of them nothing can
// be read.
var unsupportedEncodings = []string{"aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "pack200-gzip", "x-compress", "zstd"}

// contentEncodingOf reads Content-Encoding. Senders write there what belongs into
// Content-Type or Content-Transfer-Encoding (utf-8, none, binary, 8bit): a word
// that is no coding says nothing about the body.
func contentEncodingOf(h provider.Header) contentEncoding {
	found := plain
	for _, value := range h.Values("content-encoding") {
		for word := range strings.SplitSeq(value, ",") {
			word = strings.ToLower(strings.TrimSpace(word))
			switch {
			case slices.Contains(unsupportedEncodings, word):
				return foreign
			case word != "gzip" && word != "x-gzip":
			case found == packed:
				return foreign // Nobody packs twice but who wants to exhaust the reader.
			default:
				found = packed
			}
		}
	}
	return found
}
