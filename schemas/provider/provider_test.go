package provider_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/provider"
)

func TestStaticLetsInOnlyTheHolderOfASecret(t *testing.T) {
	t.Parallel()
	both := []string{"one", "two"}
	for name, c := range map[string]struct {
		scheme  string
		values  []string
		secrets []string
		want    error
	}{
		"the first secret":        {"", []string{"one"}, both, nil},
		"the second secret":       {"", []string{"two"}, both, nil},
		"bare beside a scheme":    {"Bearer", []string{"one"}, both, nil},
		"behind a scheme":         {"Bearer", []string{"Bearer one"}, both, nil},
		"behind a lower scheme":   {"Bearer", []string{"bearer  one"}, both, nil},
		"a scheme nobody asked":   {"", []string{"Bearer one"}, both, provider.ErrBadCredential},
		"another scheme":          {"Bearer", []string{"Basic one"}, both, provider.ErrBadCredential},
		"a scheme and nothing":    {"Bearer", []string{"Bearer "}, []string{""}, provider.ErrBadCredential},
		"a wrong one":             {"", []string{"ONE"}, both, provider.ErrBadCredential},
		"no header":               {"", nil, both, provider.ErrNoCredential},
		"an empty header":         {"", []string{""}, both, provider.ErrNoCredential},
		"a blank header":          {"", []string{"  "}, both, provider.ErrNoCredential},
		"the same twice":          {"", []string{"one", "one"}, both, nil},
		"the same in two forms":   {"Bearer", []string{"one", "Bearer one", "bearer one"}, both, nil},
		"both secrets":            {"", []string{"one", "two"}, both, provider.ErrBadCredential},
		"one and none":            {"", []string{"one", ""}, both, provider.ErrBadCredential},
		"none and one":            {"", []string{"", "one"}, both, provider.ErrBadCredential},
		"none twice":              {"", []string{"", " "}, both, provider.ErrNoCredential},
		"a wrong one twice":       {"", []string{"x", "x"}, both, provider.ErrBadCredential},
		"no secrets":              {"", []string{"one"}, nil, provider.ErrBadCredential},
		"an empty secret":         {"", []string{"one"}, []string{""}, provider.ErrBadCredential},
		"an empty secret, nobody": {"", []string{""}, []string{""}, provider.ErrNoCredential},
	} {
		w := provider.Webhook{Header: provider.HeaderMap{"x-token": c.values}}
		if _, err := provider.Static("x-token", c.scheme)(w, c.secrets); !errors.Is(err, c.want) {
			t.Errorf("%s gives %v, want %v", name, err, c.want)
		}
	}
}

func TestMatchSaysWhichSecretItIs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		given   string
		secrets []string
		which   int
		ok      bool
	}{
		"the first":                  {"one", []string{"one", "two"}, 0, true},
		"the second":                 {"two", []string{"one", "two"}, 1, true},
		"the second after none":      {"two", []string{"", "two"}, 1, true},
		"the first of two the same":  {"one", []string{"one", "one"}, 0, true},
		"none of them":               {"three", []string{"one", "two"}, 0, false},
		"an empty one beside itself": {"", []string{"one", ""}, 0, false},
	} {
		if which, ok := provider.Match(c.given, c.secrets); which != c.which || ok != c.ok {
			t.Errorf("%s is number %d, %v; want %d, %v", name, which, ok, c.which, c.ok)
		}
	}
}

func TestStatusErrorHasAClassForEveryStatus(t *testing.T) {
	t.Parallel()
	special := map[int]error{
		401: provider.ErrCredential, 403: provider.ErrCredential, 404: provider.ErrUnavailable, 410: provider.ErrUnavailable,
		429: provider.ErrThrottled, 408: provider.ErrUnavailable, 425: provider.ErrUnavailable,
	}
	for status := 0; status < 700; status++ {
		err := provider.StatusError(status)
		want, ok := special[status]
		switch {
		case ok:
		case status == 200:
			want = nil
		case status < 400:
			want = provider.ErrUnreadable
		case status < 500:
			want = provider.ErrRefused
		default:
			want = provider.ErrUnavailable
		}
		if !errors.Is(err, want) {
			t.Errorf("status %d is %v, want %v", status, err, want)
		}
	}
}

func TestOnlyAnObjectSaysThatAPaymentIsUnknown(t *testing.T) {
	t.Parallel()
	says := func(status int, body []byte) error {
		r := provider.Reply{Status: status, Body: body}
		return provider.NoAnswer(r, provider.IsObject(r), 404, 410)
	}
	for _, status := range []int{404, 410} {
		if err := says(status, []byte(`{"error":"unknown"}`)); !errors.Is(err, provider.ErrNotFound) {
			t.Errorf("status %d with an object is %v", status, err)
		}
		for _, body := range []string{"", "<html></html>", "[]", `"unknown"`, "null", `{"error":"cut`} {
			if err := says(status, []byte(body)); err != nil {
				t.Errorf("status %d with %q is %v", status, body, err)
			}
		}
	}
	for _, status := range []int{200, 400, 403, 500} {
		if err := says(status, []byte("{}")); err != nil {
			t.Errorf("status %d is %v", status, err)
		}
	}
}

func good() provider.Provider {
	return provider.Provider{
		Name:       "acme-2",
		Vocabulary: map[order.Kind]map[string]order.Status{order.Payment: {"OK": order.Paid}},
		Unsigned:   "because",
		Read:       func(provider.Webhook) ([]provider.Notice, error) { return []provider.Notice{{}}, nil },
		Payload:    func(provider.Target) (order.Fact, error) { return order.Fact{}, nil },
	}
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	if err := good().Check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*provider.Provider){
		"not a slug":   func(p *provider.Provider) { p.Name = "Acme" },
		"cannot read":  func(p *provider.Provider) { p.Read = nil },
		"needs either": func(p *provider.Provider) { p.Unsigned = "" },
		"Ask and Answer": func(p *provider.Provider) {
			p.Ask = func(provider.Target, provider.Account) (provider.Question, error) { return provider.Question{}, nil }
		},
		"no way to":       func(p *provider.Provider) { p.Payload = nil },
		"no vocabulary":   func(p *provider.Provider) { p.Vocabulary = nil },
		"unknown status":  func(p *provider.Provider) { p.Vocabulary[order.Payment]["OK"] = order.Authenticated },
		"something else":  func(p *provider.Provider) { p.Vocabulary[order.Payment]["ok"] = order.Refused },
		"reason for bein": func(p *provider.Provider) { p.Verify = provider.Static("a", "") },
	} {
		p := good()
		change(&p)
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("check gives %v, want %q", err, want)
		}
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

func TestASetRefusesMistakes(t *testing.T) {
	t.Parallel()
	if !panics(func() { provider.MustSet(good(), good()) }) {
		t.Error("a provider may be listed twice")
	}
	if !panics(func() { provider.MustSet(provider.Provider{}) }) {
		t.Error("an empty provider may be listed")
	}
	set := provider.MustSet(good())
	if p, ok := set.Get("acme-2"); !ok || p.Name != "acme-2" || len(set.Names()) != 1 {
		t.Errorf("the set has %v", set.Names())
	}
	if _, ok := set.Get("nobody"); ok {
		t.Error("the set has nobody")
	}
}

func TestWordsThatAreNoneAreUnreadable(t *testing.T) {
	t.Parallel()
	words := map[string]order.Status{"OK": order.Paid, "Rejected": order.Refused, "REJECTED": order.Refused, "pré": order.Pending}
	for said, want := range map[string]string{
		"OK": "OK", "ok": "OK", "Ok": "OK", "PRÉ": "pré", "Rejected": "Rejected", "REJECTED": "REJECTED", "rejected": "REJECTED",
	} {
		if got, known, err := provider.Word(words, said); got != words[want] || known != want || err != nil {
			t.Errorf("%s is %q as %q, %v", said, got, known, err)
		}
	}
	var unknown *provider.UnknownWordError
	for _, said := range []string{"OKAY", "ok ", "NOT_OK"} {
		if got, known, err := provider.Word(words, said); got != "" || known != said || !errors.As(err, &unknown) || unknown.Word != said ||
			!strings.Contains(err.Error(), strconv.Quote(said)) {
			t.Errorf("%s is %q as %q, %v", said, got, known, err)
		}
	}
	for _, word := range []string{"", strings.Repeat("x", 65), "529.982.247-25", "52998224725", "maria@example.com"} {
		if _, _, err := provider.Word(words, word); !errors.Is(err, provider.ErrUnreadable) || word != "" && strings.Contains(err.Error(), word[:2]) {
			t.Errorf("%q is %v", word, err)
		}
	}
}

func TestRefundsMoveAPaidPayment(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status          order.Status
		value, refunded int64
		want            order.Status
	}{
		{order.Paid, 100, 0, order.Paid},
		{order.Paid, 100, 1, order.PartiallyRefunded},
		{order.Paid, 100, 99, order.PartiallyRefunded},
		{order.Paid, 100, 100, order.Refunded},
		{order.Settled, 100, 101, order.Refunded},
		{order.Paid, 0, 1, order.Paid},
		{order.Disputed, 100, 50, order.Disputed},
		{"", 100, 50, ""},
	} {
		if got := provider.AfterRefunds(c.status, c.value, c.refunded); got != c.want {
			t.Errorf("%s with %d of %d is %s, want %s", c.status, c.refunded, c.value, got, c.want)
		}
	}
}

func TestAmountHasOnlyWhatIsKnown(t *testing.T) {
	t.Parallel()
	if got, err := provider.AmountOf("BRL", order.Paid, provider.Sums{}); got != nil || err != nil {
		t.Errorf("nothing is %v, %v", got, err)
	}
	if got, err := provider.AmountOf("BRL", order.Refunded, provider.Sums{Captured: 100}); err != nil || *got != (order.Amount{Currency: "BRL", Value: 100, Refunded: 100}) {
		t.Errorf("a refund without a sum is %v, %v", got, err)
	}
	if got, err := provider.AmountOf("BRL", order.Refunded, provider.Sums{Captured: 100, Refunded: 40}); err != nil || got.Refunded != 40 {
		t.Errorf("a refund with a sum is %v, %v", got, err)
	}
	for _, c := range [][2]int64{{-1, 0}, {1, -1}, {0, 1}} {
		if got, err := provider.AmountOf("BRL", order.Paid, provider.Sums{Captured: c[0], Refunded: c[1]}); !errors.Is(err, provider.ErrUnreadable) {
			t.Errorf("%v is %v, %v", c, got, err)
		}
	}
}

func TestOnlyCodesAreKeptOfFreeText(t *testing.T) {
	t.Parallel()
	for _, kept := range []string{"pix.timeout", "rejected.by.receiver.bank", "555008cef7f321d00ef236333", "2024-07-01T16:00:00-03:00", "AUTHORIZED", "4111111111111112", "2111111111111114"} {
		if got := provider.Code(kept); got != kept {
			t.Errorf("%q became %q", kept, got)
		}
	}
	for _, dropped := range []string{"", "Maria da Silva", "maria@example.com", "529.982.247-25", "52998224725", "4111111111111111", "4111-1111-1111-1111", "+5511987654321", "raz\u00e3o", strings.Repeat("x", 201)} {
		if got := provider.Code(dropped); got != "" {
			t.Errorf("%q is kept as %q", dropped, got)
		}
	}
}

func TestAWordMayHaveAnyLettersAndNoLength(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"PAID": true, "EM ANÁLISE": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "529.982.247-25": false, "maria@example.com": false,
		"REASON_001001": true, "98765-4321": false, "4111 1111 1111 1111": false,
	} {
		if got := provider.Sayable(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestUnknownTypesAreStoredUnderTheFirstID(t *testing.T) {
	t.Parallel()
	if n, err := provider.Unknown(order.Payment, "NEW", "", "id"); err != nil || n.Payment != "id" || n.Unknown != "NEW" || n.Kind != order.Payment {
		t.Errorf("it is %+v, %v", n, err)
	}
	if n, err := provider.Unknown(order.Payment, "NEW"); err != nil || n.Payment != "unknown" {
		t.Errorf("without an id it is %+v, %v", n, err)
	}
	if n, err := provider.Unknown(order.Payment, "NEW", "..", "id"); err != nil || n.Payment != "id" {
		t.Errorf("behind an unusable id it is %+v, %v", n, err)
	}
	for _, c := range [][2]string{{strings.Repeat("x", 65), "id"}, {"\xff", "id"}, {"529.982.247-25", "id"}, {"maria@example.com", "id"}} {
		if n, err := provider.Unknown(order.Payment, c[0], c[1]); !errors.Is(err, provider.ErrInvalid) || strings.Contains(err.Error(), c[0]) {
			t.Errorf("%q is %+v, %v", c, n, err)
		}
	}
}
