package provider_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"arauto/schemas/provider"
)

var stamped = provider.Signature{
	Header: "x-signature", Timestamp: "ts", Sum: "v1", Tolerance: time.Hour,
	Message: func(w provider.Webhook, timestamp string) string {
		return "id:" + w.Query.Get("id") + ";ts:" + timestamp + ";"
	},
}

func TestSignatureIsRefusedUnlessAllOfItFits(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_700_000_000, 0)
	w := provider.Webhook{Query: url.Values{"id": {"p"}}, At: at}
	const now, both = "1700000000", "one two"
	good := stamped.Sign(w, now, "one")
	sum := good[strings.Index(good, "v1=")+3:]
	for name, c := range map[string]struct {
		header  []string
		secrets string
		which   int
		want    error
	}{
		"the first secret":           {[]string{good}, both, 0, nil},
		"the second secret":          {[]string{good}, "two one", 1, nil},
		"in milliseconds":            {[]string{stamped.Sign(w, now+"123", "one")}, both, 0, nil},
		"a sum in capitals":          {[]string{"ts=" + now + ",v1=" + strings.ToUpper(sum)}, both, 0, nil},
		"another version beside it":  {[]string{"v2=00, ts=" + now + ", v1=" + sum}, both, 0, nil},
		"two sums, one of them ours": {[]string{"ts=" + now + ",v1=00,v1=" + sum}, both, 0, nil},
		"the same twice":             {[]string{good, good}, both, 0, nil},
		"two that differ":            {[]string{good, stamped.Sign(w, now, "two")}, both, 0, provider.ErrBadCredential},
		"five sums":                  {[]string{"ts=" + now + strings.Repeat(",v1=00", 4) + ",v1=" + sum}, both, 0, provider.ErrBadCredential},
		"two timestamps":             {[]string{"ts=1," + good}, both, 0, provider.ErrBadCredential},
		"no timestamp":               {[]string{"v1=" + sum}, both, 0, provider.ErrBadCredential},
		"no sum":                     {[]string{"ts=" + now}, both, 0, provider.ErrBadCredential},
		"a sum that is cut":          {[]string{good[:len(good)-2]}, both, 0, provider.ErrBadCredential},
		"no header":                  {nil, both, 0, provider.ErrNoCredential},
		"a blank header":             {[]string{" "}, both, 0, provider.ErrNoCredential},
		"another secret":             {[]string{good}, "two three", 0, provider.ErrBadCredential},
		"no secrets":                 {[]string{good}, "", 0, provider.ErrBadCredential},
		"a timestamp of letters":     {[]string{stamped.Sign(w, "soon", "one")}, both, 0, provider.ErrBadCredential},
		"a timestamp of 30 digits":   {[]string{stamped.Sign(w, strings.Repeat("9", 30), "one")}, both, 0, provider.ErrBadCredential},
		"a negative timestamp":       {[]string{stamped.Sign(w, "-1700000000", "one")}, both, 0, provider.ErrBadCredential},
		"zero":                       {[]string{stamped.Sign(w, "0", "one")}, both, 0, provider.ErrBadCredential},
		"2099":                       {[]string{stamped.Sign(w, "4070908800", "one")}, both, 0, provider.ErrBadCredential},
		"an hour ago":                {[]string{stamped.Sign(w, "1699996400", "one")}, both, 0, provider.ErrBadCredential},
		"less than an hour ago":      {[]string{stamped.Sign(w, "1699996401", "one")}, both, 0, nil},
		"in an hour":                 {[]string{stamped.Sign(w, "1700003600", "one")}, both, 0, provider.ErrBadCredential},
		"in less than an hour":       {[]string{stamped.Sign(w, "1700003599999", "one")}, both, 0, nil},
	} {
		w := w
		w.Header = provider.HeaderMap{"x-signature": c.header}
		which, err := stamped.Verify(w, strings.Fields(c.secrets))
		if which != c.which || !errors.Is(err, c.want) {
			t.Errorf("%s: number %d, %v; want %d, %v", name, which, err, c.which, c.want)
		}
		if err != nil && provider.RefusalOf(err).Field != "x-signature" {
			t.Errorf("%s: the refusal %v names no header", name, err)
		}
	}
	w.Header = provider.HeaderMap{"x-signature": {stamped.Sign(w, now, "")}}
	if _, err := stamped.Verify(w, []string{"", ""}); !errors.Is(err, provider.ErrBadCredential) {
		t.Errorf("an empty secret gives %v", err)
	}
}

func TestOnlyParametersOfTheContractArePassedOn(t *testing.T) {
	t.Parallel()
	p := provider.Provider{Query: []provider.Parameter{{Name: "data.id"}, {Name: "type"}}}
	for raw, want := range map[string]string{
		"data.id=1&utm=x&type=payment": "data.id=1&type=payment", "data.id=1&data.id=2": "data.id=1&data.id=2", "": "", "utm=x": "",
		"data.id=%zz&type=payment": "", "data.id=a%2Fb+c": "data.id=a%2Fb+c",
	} {
		if got := p.Parameters(raw).Encode(); got != want {
			t.Errorf("%q gives %q, want %q", raw, got, want)
		}
	}
	if got := (provider.Provider{}).Parameters("a=b"); got != nil {
		t.Errorf("without a contract it gives %v", got)
	}
}
