package process

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/subject"
)

// login is one way to log in at a broker.
type login struct {
	server  func(*server.Options) // What the broker knows of it.
	keys    string                // The right keys of the section nats.
	wrong   string                // Keys that the broker refuses.
	advice  string                // What the log says about the wrong ones.
	secrets []string              // What no log may show.
}

// overTLS gives a broker a certificate of the authority.
func overTLS(t *testing.T, a *testbench.Authority, change func(*server.Options)) *server.Server {
	t.Helper()
	files := a.Issue(t, "broker", time.Hour)
	pair, err := tls.LoadX509KeyPair(files.File, files.Key)
	testbench.Must(t, err)
	return broker(t, func(o *server.Options) {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientCAs: a.Pool}
		o.TLS, o.TLSTimeout, o.AuthTimeout = true, 60, 60
		change(o)
	})
}

func saved(t *testing.T, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "login")
	testbench.Must(t, os.WriteFile(file, content, 0o600))
	return file
}

// seedFile makes a user's NKey. It returns the file of its seed, the seed and the public key.
func seedFile(t *testing.T) (file, seed, public string) {
	t.Helper()
	key, err := nkeys.CreateUser()
	testbench.Must(t, err)
	raw, err := key.Seed()
	testbench.Must(t, err)
	public, err = key.PublicKey()
	testbench.Must(t, err)
	return saved(t, raw), string(raw), public
}

func passwordLogin() login {
	return login{
		server: func(o *server.Options) { o.Username, o.Password = "me", "right-"+canary },
		keys:   "user: me, password: right-" + canary, wrong: "user: me, password: wrong-" + canary,
		advice: "compare nats.user and nats.password with the broker's users", secrets: []string{canary},
	}
}

func nkeyLogin(t *testing.T) login {
	t.Helper()
	right, seed, public := seedFile(t)
	wrong, other, unknown := seedFile(t)
	return login{
		server: func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} },
		keys:   "nkey_file: " + right, wrong: "nkey_file: " + wrong,
		advice: "the broker needs a user {nkey: " + unknown + "}", secrets: []string{seed, other},
	}
}

// account is an account of an operator, with one user.
type account struct {
	operator, public, token, credentials, seed string
}

// newAccount makes an account with as much of JetStream.
func newAccount(t *testing.T, limits jwt.JetStreamLimits) account {
	t.Helper()
	operator, err := nkeys.CreateOperator()
	testbench.Must(t, err)
	key, err := nkeys.CreateAccount()
	testbench.Must(t, err)
	a := account{operator: public(t, operator), public: public(t, key)}
	claims := jwt.NewAccountClaims(a.public)
	claims.Limits.JetStreamLimits = limits
	a.token, err = claims.Encode(operator)
	testbench.Must(t, err)
	user, err := nkeys.CreateUser()
	testbench.Must(t, err)
	seed, err := user.Seed()
	testbench.Must(t, err)
	token, err := jwt.NewUserClaims(public(t, user)).Encode(key)
	testbench.Must(t, err)
	content, err := jwt.FormatUserConfig(token, seed)
	testbench.Must(t, err)
	a.credentials, a.seed = saved(t, content), string(seed)
	return a
}

func public(t *testing.T, key nkeys.KeyPair) string {
	t.Helper()
	p, err := key.PublicKey()
	testbench.Must(t, err)
	return p
}

func credentialsLogin(t *testing.T) login {
	t.Helper()
	whole := jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1, Streams: -1, Consumer: -1}
	known, stranger := newAccount(t, whole), newAccount(t, whole)
	system := newAccount(t, jwt.JetStreamLimits{}) // The server starts with no other.
	return login{
		server: func(o *server.Options) {
			o.TrustedKeys, o.SystemAccount = []string{known.operator, system.operator}, system.public
			accounts := &server.MemAccResolver{}
			testbench.Must(t, accounts.Store(known.public, known.token))
			testbench.Must(t, accounts.Store(system.public, system.token))
			o.AccountResolver = accounts
		},
		keys: "credentials_file: " + known.credentials, wrong: "credentials_file: " + stranger.credentials,
		advice: "the broker knows no account of nats.credentials_file", secrets: []string{known.seed, stranger.seed},
	}
}

// certificateLogin maps the certificate's DNS name to a user.
func certificateLogin(t *testing.T, a *testbench.Authority) login {
	t.Helper()
	keys := func(name string) string {
		files := a.Issue(t, name, time.Hour)
		return "certificate_file: " + files.File + ", key_file: " + files.Key
	}
	return login{
		server: func(o *server.Options) {
			o.TLSConfig.ClientAuth, o.TLSVerify, o.TLSMap = tls.RequireAndVerifyClientCert, true, true
			o.Users = []*server.User{{Username: "normalize"}}
		},
		keys: keys("normalize"), wrong: keys("stranger"),
		advice: "the broker needs verify_and_map and a user that is called like a name or the subject of nats.certificate_file",
	}
}

// TestEachLoginOverTLSPublishesAndReads logs in, publishes a notification and reads it. The
// wrong login of the same kind is refused with advice, and no log shows a secret.
func TestEachLoginOverTLSPublishesAndReads(t *testing.T) {
	t.Parallel()
	a := testbench.NewAuthority(t)
	for kind, l := range map[string]login{
		"password": passwordLogin(), "nkey": nkeyLogin(t), "credentials": credentialsLogin(t), "certificate": certificateLogin(t, a),
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := overTLS(t, a, l.server)
			url := fmt.Sprintf("tls://%s", s.Addr())
			section := func(keys string) string { return "nats: {url: '" + url + "', ca_file: " + a.File + ", " + keys + "}\n" }
			right := start(t, written(t, "", section(l.keys)), func(*Kit) {})
			testbench.Until(t, "the right login is connected", right.kit.NATS.IsConnected)
			exchange(t, right.kit)
			wrong := start(t, written(t, "", section(l.wrong)), func(*Kit) {})
			testbench.Until(t, "the wrong login is refused with advice", func() bool { return strings.Contains(wrong.logs.String(), l.advice) })
			if wrong.kit.NATS.IsConnected() {
				t.Error("the wrong login is connected")
			}
			if code := right.end(t) + wrong.end(t); code != ExitClean {
				t.Errorf("the exit codes add up to %d", code)
			}
			for _, secret := range l.secrets {
				if strings.Contains(right.logs.String()+wrong.logs.String(), secret) {
					t.Error("a log shows a secret")
				}
			}
		})
	}
}

// exchange applies the topology, publishes a notification and reads it.
func exchange(t *testing.T, k *Kit) {
	t.Helper()
	ctx := testbench.Context(t)
	_, err := topology.Apply(ctx, k.JS, topology.Settings{Replicas: 1, Store: testbench.Store, Providers: []string{"sandbox"}})
	testbench.Must(t, err)
	b := testbench.NewBench(t, k.JS)
	at := b.Tokens.Unit("sandbox", "default", "p").Notification()
	_, err = k.JS.Publish(ctx, at, []byte("a notification"))
	testbench.Must(t, err)
	stored, err := b.Stream(subject.Notifications).GetLastMsgForSubject(ctx, at)
	testbench.Must(t, err)
	if string(stored.Data) != "a notification" {
		t.Errorf("the notification is %q", stored.Data)
	}
}

func TestBrokerCertificateThatIsNotTrustedIsRefusedWithAdvice(t *testing.T) {
	t.Parallel()
	a := testbench.NewAuthority(t)
	s := overTLS(t, a, func(o *server.Options) { o.Username, o.Password = "me", canary })
	for keys, advice := range map[string]string{
		"ca_file: " + testbench.NewAuthority(t).File: "write the authority of the broker's certificate as nats.ca_file",
		"name: x": "write the authority of the broker's certificate as nats.ca_file",
	} {
		r := start(t, written(t, "", fmt.Sprintf("nats: {url: 'tls://%s', user: me, password: %s, %s}\n", s.Addr(), canary, keys)), func(*Kit) {})
		testbench.Until(t, "the advice is logged", func() bool { return strings.Contains(r.logs.String(), advice) })
		r.end(t)
	}
}

func TestBrokerThatAsksForACertificateRefusesAStrangersWithAdvice(t *testing.T) {
	t.Parallel()
	a := testbench.NewAuthority(t)
	// In TLS 1.3 the client has sent its login before the broker's alert comes, and may see a
	// reset instead of the alert.
	s := overTLS(t, a, func(o *server.Options) {
		o.TLSConfig.ClientAuth, o.TLSConfig.MaxVersion, o.TLSVerify = tls.RequireAndVerifyClientCert, tls.VersionTLS12, true
	})
	foreign := testbench.NewAuthority(t).Issue(t, "normalize", time.Hour)
	for keys, advice := range map[string]string{
		"certificate_file: " + foreign.File + ", key_file: " + foreign.Key: "the broker refuses nats.certificate_file",
		"name: x": "the broker asks for a client's certificate: write nats.certificate_file",
	} {
		r := start(t, written(t, "", fmt.Sprintf("nats: {url: 'tls://%s', ca_file: %s, %s}\n", s.Addr(), a.File, keys)), func(*Kit) {})
		testbench.Until(t, "the advice is logged", func() bool { return strings.Contains(r.logs.String(), advice) })
		r.end(t)
	}
}
