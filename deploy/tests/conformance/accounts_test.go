package conformance_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/conf"

	"arauto/deploy/runtime/testbench"
)

// accountInfo is imported by an account without JetStream, so that the server
// does not import $JS.API.> from the system account. No user may publish to it.
const accountInfo = "$JS.API.INFO"

// account is what crosses the boundary of one account of the configuration, and
// what its users may use.
type account struct {
	jetstream           bool
	exports             map[string][]string // Who may import a subject, by "service" or "stream" and the subject.
	named               map[string]int      // Exports for the account that is named at this token, by the subject.
	imports             []string            // "service" or "stream" and the subject, all from streamAccount.
	publish, subscribes []string
}

// TestAccountsImportExactlyWhatTheirUsersUse compares exports, imports and
// permissions, with a service of the documents among the accounts. That each
// permission is needed, the tests of the roles and of the documented users show.
func TestAccountsImportExactlyWhatTheirUsersUse(t *testing.T) {
	t.Parallel()
	accounts := accountsOf(t, confWithDocumentedUsers(t))
	exported := map[string][]string{} // By importing account.
	for subject, importers := range accounts[streamAccount].exports {
		if len(importers) == 0 && !slices.Contains(public, subject) {
			t.Errorf("every account may import %s", subject)
		}
		for _, name := range importers {
			exported[name] = append(exported[name], subject)
		}
	}
	for name, a := range accounts {
		for _, i := range a.imports {
			if slices.Contains(public, i) || named(accounts[streamAccount].named, name, i) {
				exported[name] = append(exported[name], i)
			}
		}
		if a.jetstream != (name == streamAccount) {
			t.Errorf("account %s has JetStream: %v", name, a.jetstream)
		}
		if name == streamAccount {
			continue
		}
		var want []string
		for _, subject := range a.publish {
			want = append(want, "service "+subject)
		}
		if len(want) > 0 {
			want = append(want, "service "+accountInfo)
		}
		for _, subject := range a.subscribes {
			if !strings.HasPrefix(subject, "_INBOX_") {
				want = append(want, "stream "+subject)
			}
		}
		same(t, name+" imports, as its users may publish and subscribe", a.imports, want)
		same(t, streamAccount+" exports to "+name+", as that imports", exported[name], a.imports)
		if len(a.exports) != 0 {
			t.Errorf("account %s exports %v", name, a.exports)
		}
	}
	for _, name := range []string{"GATEWAY", "VIEWER", biller, ledger} {
		if _, ok := accounts[name]; !ok {
			t.Errorf("there is no account %s", name)
		}
	}
}

// public are the exports that any account of the configuration may import. They change
// nothing and, but for the last, only services import them.
var public = []string{
	"service $JS.API.STREAM.INFO.ORDERS", "service $JS.API.STREAM.MSG.GET.ORDERS",
	"service $JS.API.STREAM.INFO.OUTCOMES", "service $JS.API.STREAM.MSG.GET.OUTCOMES", "service " + accountInfo,
}

// named reports whether an import is for the account that is named in its subject.
func named(exports map[string]int, account, imported string) bool {
	for pattern, position := range exports {
		if covers(pattern, strings.TrimPrefix(imported, "service ")) && strings.Split(imported, ".")[position-1] == account {
			return true
		}
	}
	return false
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// accountsOf reads the accounts of a configuration. A key that it does not know
// fails the test: a mapping could carry a message across.
func accountsOf(t *testing.T, path string) map[string]account {
	t.Helper()
	file, err := conf.ParseFile(path)
	testbench.Must(t, err)
	all := map[string]account{}
	for name, value := range as[map[string]any](t, file["accounts"]) {
		a := account{exports: map[string][]string{}, named: map[string]int{}}
		for key, value := range as[map[string]any](t, value) {
			switch key {
			case "jetstream":
				a.jetstream = value == "enabled"
			case "exports":
				for _, one := range as[[]any](t, value) {
					a.export(t, as[map[string]any](t, one))
				}
			case "imports":
				for _, one := range as[[]any](t, value) {
					a.imports = append(a.imports, imported(t, as[map[string]any](t, one)))
				}
			case "users":
				for _, one := range as[[]any](t, value) {
					a.user(t, as[map[string]any](t, one))
				}
			case "limits": // They carry nothing anywhere.
			default:
				t.Errorf("account %s has %q, which this test does not know", name, key)
			}
		}
		all[name] = a
	}
	return all
}

func (a *account) export(t *testing.T, entry map[string]any) {
	t.Helper()
	for _, kind := range []string{"service", "stream"} {
		if subject, ok := entry[kind].(string); ok {
			if position, ok := entry["account_token_position"].(int64); ok {
				a.named[subject] = int(position)
				return
			}
			if _, ok := entry["accounts"]; !ok {
				a.exports[kind+" "+subject] = nil
				return
			}
			for _, importer := range as[[]any](t, entry["accounts"]) {
				a.exports[kind+" "+subject] = append(a.exports[kind+" "+subject], as[string](t, importer))
			}
			return
		}
	}
	t.Errorf("export %v is neither a service nor a stream", entry)
}

// imported is an import under its own subject.
func imported(t *testing.T, entry map[string]any) string {
	t.Helper()
	for _, kind := range []string{"service", "stream"} {
		if from, ok := entry[kind].(map[string]any); ok && len(entry) == 1 && from["account"] == streamAccount {
			return kind + " " + as[string](t, from["subject"])
		}
	}
	t.Errorf("import %v is not a plain one from %s", entry, streamAccount)
	return ""
}

func (a *account) user(t *testing.T, entry map[string]any) {
	t.Helper()
	permissions := as[map[string]any](t, entry["permissions"])
	for list, key := range map[*[]string]string{&a.publish: "publish", &a.subscribes: "subscribe"} {
		allowed, ok := as[map[string]any](t, permissions[key])["allow"]
		if !ok { // That all is denied, the tests of the permissions show.
			continue
		}
		for _, subject := range as[[]any](t, allowed) {
			*list = append(*list, as[string](t, subject))
		}
	}
}

// as is the value of a parsed configuration as the type that it must have.
func as[T any](t *testing.T, value any) T {
	t.Helper()
	typed, ok := value.(T)
	if !ok {
		t.Fatalf("the configuration has %v (%T), want %T", value, value, typed)
	}
	return typed
}
