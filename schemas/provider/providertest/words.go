package providertest

import (
	"maps"
	"strings"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/provider"
)

// Words fails unless the vocabulary of a kind is exactly this: for each status the words
// that mean it, with spaces between them. It is the second writing of a table in which a
// slip moves money.
func Words(t *testing.T, p provider.Provider, kind order.Kind, words map[order.Status]string) {
	t.Helper()
	want := map[string]order.Status{}
	for status, all := range words {
		for word := range strings.FieldsSeq(all) {
			want[word] = status
		}
	}
	if !maps.Equal(p.Vocabulary[kind], want) {
		t.Errorf("%s of %s speaks %v, want %v", kind, p.Name, p.Vocabulary[kind], want)
	}
}
