package webhook

import (
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"arauto/deploy/runtime/trace"
	"arauto/schemas/provider"
)

// headers gives adapters the request's headers, without a copy of all of them. Names match
// in any case. Of Content-Type, Host and User-Agent fasthttp keeps the last value only.
type headers struct{ h *fasthttp.RequestHeader }

// Values returns copies: fasthttp reuses the request's memory for the next one.
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

// storedHeaders returns the headers that are stored with a notification. provider.Code
// filters their values, so that they hold no personal data, and the media type is stored
// without its parameters. Of several values the first that passes is stored.
func storedHeaders(h provider.Header) map[string]string {
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

// traceparent returns the client's W3C trace context if there is exactly one and it is
// valid, else that of a new trace.
func traceparent(h provider.Header) string {
	if values := h.Values(trace.Header); len(values) == 1 && trace.Valid(values[0]) {
		return values[0]
	}
	return trace.New()
}

// contentEncoding is what a body's Content-Encoding means for reading it.
type contentEncoding int

const (
	identity    contentEncoding = iota
	gzipped                     // gzip, once.
	unsupported                 // Another coding, or gzip twice.
)

// unsupportedEncodings are the registered content codings but gzip and identity (IANA,
// HTTP Content Coding Registry, read in November 2026).
var unsupportedEncodings = []string{"aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "pack200-gzip", "x-compress", "zstd"}

// contentEncodingOf reads Content-Encoding. A word that is no registered coding means
// identity: senders write there what belongs into Content-Type or
// Content-Transfer-Encoding (utf-8, none, binary, 8bit).
func contentEncodingOf(h provider.Header) contentEncoding {
	found := identity
	for _, value := range h.Values("content-encoding") {
		for word := range strings.SplitSeq(value, ",") {
			word = strings.ToLower(strings.TrimSpace(word))
			switch {
			case slices.Contains(unsupportedEncodings, word):
				return unsupported
			case word != "gzip" && word != "x-gzip":
			case found == gzipped:
				return unsupported // Only a decompression bomb is compressed twice.
			default:
				found = gzipped
			}
		}
	}
	return found
}
