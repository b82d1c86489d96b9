package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"arauto/deploy/runtime/testbench"
)

// seeds are what a folder of logins holds, none of which a problem may show.
type seeds struct{ user, account, public string }

// logins writes a seed of each kind, a credentials file and two pairs beside a configuration.
func logins(t *testing.T, folder string) (made seeds) {
	t.Helper()
	user, err := nkeys.CreateUser()
	testbench.Must(t, err)
	account, err := nkeys.CreateAccount()
	testbench.Must(t, err)
	seed, err := user.Seed()
	testbench.Must(t, err)
	other, err := account.Seed()
	testbench.Must(t, err)
	made.public, err = user.PublicKey()
	testbench.Must(t, err)
	token, err := jwt.NewUserClaims(made.public).Encode(account)
	testbench.Must(t, err)
	credentials, err := jwt.FormatUserConfig(token, seed)
	testbench.Must(t, err)
	for name, content := range map[string][]byte{
		"user.nk": append(seed, '\n'), "account.nk": other, "user.creds": credentials, "jwt.creds": []byte(token),
	} {
		testbench.Must(t, os.WriteFile(filepath.Join(folder, name), content, 0o600))
	}
	pair(t, folder, "a")
	pair(t, folder, "b")
	made.user, made.account = string(seed), string(other)
	return made
}

func TestOneLoginIsReadBesideTheConfiguration(t *testing.T) {
	t.Parallel()
	for keys, options := range map[string]int{
		"user: me, password: '${ONE}'": 1, "nkey_file: user.nk": 1, "credentials_file: user.creds": 1,
		"certificate_file: a.crt, key_file: a.key":                               1,
		"certificate_file: a.crt, key_file: a.key, nkey_file: user.nk":           2,
		"certificate_file: a.crt, key_file: a.key, user: me, password: '${ONE}'": 2,
		"nkey_file: '${ABSENT:-}', credentials_file: '${EMPTY:-}'":               0,
	} {
		// Another host without TLS: an NKey and a credentials file send no secret, and with a
		// certificate the client insists on TLS.
		at := "nats://broker:4222"
		if strings.HasPrefix(keys, "user:") {
			at = "tls://broker:4222"
		}
		path := write(t, "nats: {url: '"+at+"', "+keys+"}\n")
		made := logins(t, filepath.Dir(path))
		c, err := Load(path, environment(), known)
		if err != nil {
			t.Errorf("%s: %v", keys, err)
			continue
		}
		n := c.NATS()
		if got := len(n.Login()); got != options {
			t.Errorf("%s: %d options, want %d", keys, got, options)
		}
		var applied nats.Options
		for _, o := range n.Login() {
			testbench.Must(t, o(&applied))
		}
		if want := strings.Contains(keys, "user.nk"); (applied.Nkey == made.public) != want || (n.NKey == made.public) != want {
			t.Errorf("%s: the NKey is %q and %q", keys, applied.Nkey, n.NKey)
		}
		if strings.Contains(c.Redacted(), made.user) {
			t.Errorf("%s: the seed is printed", keys)
		}
	}
}

func TestImpossibleLoginIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	for keys, want := range map[string]string{
		"nkey_file: user.nk, user: me, password: '${ONE}'":           "nats.nkey_file: stands beside nats.user or nats.password; keep one way to log in",
		"nkey_file: user.nk, password: '${ONE}'":                     "nats.nkey_file: stands beside nats.user or nats.password; keep one way to log in",
		"credentials_file: user.creds, user: me, password: '${ONE}'": "nats.credentials_file: stands beside nats.user or nats.password; keep one way to log in",
		"credentials_file: user.creds, nkey_file: user.nk":           "nats.nkey_file: stands beside nats.credentials_file; keep one way to log in",
		"nkey_file: account.nk":                                      "nats.nkey_file: holds no seed of a user; write the path of a file with the line that begins with SU, as nk -gen user prints it",
		"nkey_file: arauto.yaml":                                     "nats.nkey_file: holds no seed of a user; write the path of a file with the line that begins with SU, as nk -gen user prints it",
		"nkey_file: nowhere":                                         "nats.nkey_file: cannot read the file: no such file or directory; write the path of a readable file",
		"credentials_file: user.nk":                                  "nats.credentials_file: holds no user's JWT with its seed; write the path of a .creds file, as nsc generates it",
		"credentials_file: jwt.creds":                                "nats.credentials_file: holds no user's JWT with its seed; write the path of a .creds file, as nsc generates it",
		"credentials_file: nowhere":                                  "nats.credentials_file: cannot read the file: no such file or directory; write the path of a readable file",
		"certificate_file: a.crt":                                    "nats.certificate_file: has no key; write nats.key_file too",
		"key_file: a.key":                                            "nats.key_file: has no certificate; write nats.certificate_file too",
		"certificate_file: a.crt, key_file: b.key": "nats.certificate_file: is not a usable pair with nats.key_file: private key does not match public key; " +
			"write the PEM files of a certificate with its chain and of its own key",
		"certificate_file: a.crt, key_file: nowhere": "nats.key_file: cannot read the file: no such file or directory; write the path of a readable PEM file",
	} {
		path := write(t, "profile: production\nnats: {url: 'tls://broker:4222', "+keys+"}\n")
		made := logins(t, filepath.Dir(path))
		_, err := Load(path, environment(), known)
		if err == nil {
			t.Errorf("%s: accepted", keys)
			continue
		}
		if got := strings.ReplaceAll(err.Error(), path, "FILE"); got != "FILE:2: "+want {
			t.Errorf("%s: it says\n%s\nwant\n%s", keys, got, want)
		}
		for _, seed := range []string{made.user, made.account} {
			if strings.Contains(err.Error(), seed) {
				t.Errorf("%s: the problem shows a seed", keys)
			}
		}
	}
}

func TestPasswordIsRefusedInPlainTextBesideAnEmptyCertificate(t *testing.T) {
	t.Parallel()
	path := write(t, "nats: {url: 'nats://broker:4222', user: me, password: '${ONE}', certificate_file: '${EMPTY:-}'}\n")
	if _, err := Load(path, environment(), known); err == nil || !strings.Contains(err.Error(), "sends nats.password to another host in plain text") {
		t.Errorf("it says %v", err)
	}
}

// TestLoginErrorsLeadToAnAction goes through the errors that need no broker; the tests of
// deploy/runtime/process have those of real ones.
func TestLoginErrorsLeadToAnAction(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		nats.ErrAuthExpired:          "write a new file",
		nats.ErrAccountAuthExpired:   "write a new file",
		nats.ErrAuthRevoked:          "write a new file",
		nats.ErrSecureConnWanted:     "the broker speaks no TLS",
		nats.ErrSecureConnRequired:   "write tls:// in nats.url",
		nats.ErrAuthorization:        "the broker asks for a login",
		errors.New("no route to it"): "",
		nil:                          "",
	} {
		if err != nil {
			err = fmt.Errorf("connect: %w", err)
		}
		if got := (NATS{}).Advice(err); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("of %v it says %q, want %q", err, got, want)
		}
	}
}

// TestRenewedClientCertificateNeedsNoRestart applies the option once, and changes the file.
func TestRenewedClientCertificateNeedsNoRestart(t *testing.T) {
	t.Parallel()
	files := testbench.NewCertificate(t)
	files.Renew(t, time.Unix(0, 0), time.Now().Add(time.Hour))
	var applied nats.Options
	for _, o := range (NATS{CertificateFile: files.File, KeyFile: files.Key}).Login() {
		testbench.Must(t, o(&applied))
	}
	before, err := applied.TLSCertCB()
	testbench.Must(t, err)
	files.Renew(t, time.Unix(0, 0), time.Now().Add(2*time.Hour))
	after, err := applied.TLSCertCB()
	testbench.Must(t, err)
	if before.Leaf.Equal(after.Leaf) {
		t.Error("the renewed certificate is not read")
	}
}
