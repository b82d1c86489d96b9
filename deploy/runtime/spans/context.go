package spans

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math"

	otel "go.opentelemetry.io/otel/trace"

	"arauto/deploy/runtime/trace"
)

// Where the parts of a valid trace context of version 00 stand in its text.
const (
	idFrom, idTo     = 3, 35
	spanFrom, spanTo = 36, 52
	flagsFrom        = 53
)

// The flags of a trace context: only whether its trace is recorded.
const (
	notRecorded = "00"
	recorded    = "01"
)

// flagged returns a valid trace context with these flags and no others.
func flagged(context, flags string) string { return context[:flagsFrom] + flags }

// isSampled reports whether a valid trace context says that its trace is recorded.
func isSampled(context string) bool {
	flags, err := hex.DecodeString(context[flagsFrom:])
	return err == nil && flags[0]&1 == 1
}

// sampled decides by the id of a valid trace context, for one trace in so many. The id must
// be random.
func sampled(context string, oneIn int) bool {
	id := traceID(context)
	return binary.BigEndian.Uint64(id[8:]) <= math.MaxUint64/uint64(max(oneIn, 1))
}

// traceID is the trace id of a trace context, zero if that is not valid.
func traceID(context string) (id otel.TraceID) {
	if trace.Valid(context) {
		_, _ = hex.Decode(id[:], []byte(context[idFrom:idTo])) // It is valid.
	}
	return id
}

// within returns ctx with the span of another process that a valid trace context names.
func within(ctx context.Context, parent string) context.Context {
	var span otel.SpanID
	_, _ = hex.Decode(span[:], []byte(parent[spanFrom:spanTo])) // It is valid.
	return otel.ContextWithRemoteSpanContext(ctx, otel.NewSpanContext(otel.SpanContextConfig{
		TraceID: traceID(parent), SpanID: span, TraceFlags: otel.FlagsSampled, Remote: true,
	}))
}
