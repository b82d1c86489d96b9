package wire_test

import (
	"strings"
	"testing"
	"unsafe"

	"arauto/schemas/wire"
)

// TestValueOfAFormKeepsNoOther makes sure that an id which is kept does not keep the
// whole body with it.
func TestValueOfAFormKeepsNoOther(t *testing.T) {
	t.Parallel()
	value := strings.Repeat("v", 64)
	form, err := wire.Form([]byte("first=" + value + "&second=" + value))
	if err != nil {
		t.Fatal(err)
	}
	at := func(key string) uintptr { return uintptr(unsafe.Pointer(unsafe.StringData(form[key][0]))) }
	if at("second")-at("first") == uintptr(len(value+"&second=")) {
		t.Error("two values are parts of one string")
	}
}
