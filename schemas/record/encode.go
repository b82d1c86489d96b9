package record

import (
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendTo appends n as JSON to dst, with the same values that json.Marshal
// writes. It is written out because it is done for every webhook, and costs a
// third of what reflection does. HTML is not escaped, which would make angle
// brackets six times as long and a document too large for the broker. What is
// no UTF-8 becomes replacement characters: a header may hold any bytes, and is
// no reason to refuse a webhook.
func (n Notification) AppendTo(dst []byte) []byte {
	dst = appendText(append(dst, `{"id":`...), n.ID)
	dst = appendText(append(dst, `,"provider":`...), n.Provider)
	dst = appendText(append(dst, `,"account":`...), n.Account)
	dst = appendText(append(dst, `,"kind":`...), string(n.Kind))
	dst = appendText(append(dst, `,"payment":`...), n.Payment)
	if n.Order != "" {
		dst = appendText(append(dst, `,"order":`...), n.Order)
	}
	dst = append(dst, `,"received_at":"`...)
	dst = append(n.ReceivedAt.AppendFormat(dst, time.RFC3339Nano), '"')
	if n.Unknown != "" {
		dst = appendText(append(dst, `,"unknown_type":`...), n.Unknown)
	}
	dst = appendText(append(dst, `,"traceparent":`...), n.Trace)
	if len(n.Headers) > 0 {
		dst = appendTexts(append(dst, `,"headers":`...), n.Headers)
	}
	if len(n.Fields) > 0 {
		dst = appendTexts(append(dst, `,"fields":`...), n.Fields)
	}
	return append(dst, '}')
}

func appendText(dst []byte, text string) []byte {
	dst, _ = jsontext.AppendQuote(dst, text) // It fails for what is no UTF-8, but replaces it.
	return dst
}

// appendTexts appends an object of texts, its keys in order.
func appendTexts(dst []byte, texts map[string]string) []byte {
	var few [8]string
	next := byte('{')
	keys := slices.AppendSeq(few[:0], maps.Keys(texts))
	slices.Sort(keys)
	for _, name := range keys {
		dst = appendText(append(dst, next), name)
		dst = appendText(append(dst, ':'), texts[name])
		next = ','
	}
	return append(dst, '}')
}
