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

// storedHeaders returns the headers that are stored with a notification. provider.Code and
// provider.Sayable filter their values, so that they hold no personal data; see mediaType
// for the one of Content-Type. Of several values the first that passes is stored.
func storedHeaders(h provider.Header) map[string]string {
	stored := map[string]string{}
	for _, name := range []string{"event-type", "event_type", "content-type"} {
		for _, value := range h.Values(name) {
			code := provider.Code(strings.TrimSpace(value))
			if name == "content-type" {
				code = mediaType(value)
			}
			if provider.Sayable(code) {
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

// mediaType is the media type in a Content-Type without its parameters, or "" if its
// top-level type is not one that bodies have. A sender may have written anything there, such
// as its secret, and the media type is logged.
func mediaType(value string) string {
	value, _, _ = strings.Cut(value, ";")
	value = provider.Code(strings.TrimSpace(value))
	top, sub, _ := strings.Cut(strings.ToLower(value), "/")
	if sub == "" || strings.Contains(sub, "/") || !slices.Contains([]string{"application", "text", "multipart"}, top) {
		return ""
	}
	return value
}

// traceparent returns the client's W3C trace context if there is exactly one and it is
// valid, else "".
func traceparent(h provider.Header) string {
	if values := h.Values(trace.Header); len(values) == 1 && trace.Valid(values[0]) {
		return values[0]
	}
	return ""
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
