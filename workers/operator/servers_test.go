package operator

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"arauto/deploy/runtime/testbench"
)

// asOperator gives the broker a user operator with the grants that change returns, by which the
// command then logs in.
func (r *rig) asOperator(change func(publish []string) *server.Permissions) {
	r.T.Helper()
	publish, subscribe := granted()
	if len(publish) < 20 || !slices.Equal(subscribe, []string{operatorInbox + ".>"}) {
		r.T.Fatalf("nats.conf grants the operator %v and %v", publish, subscribe)
	}
	may := change(publish)
	if may != nil && may.Subscribe == nil {
		may.Subscribe = &server.SubjectPermission{Allow: subscribe}
	}
	r.Stop()
	r.Restart(func(o *server.Options) {
		o.Users = []*server.User{{Username: "test", Password: "test"}, {Username: operatorUser, Password: "secret", Permissions: may}}
		o.NoAuthUser = "test"
	})
	text, err := os.ReadFile(r.config)
	r.Must(err)
	r.Must(os.WriteFile(r.config, []byte(strings.Replace(string(text), fmt.Sprintf("nats: {url: %q}", r.URL),
		fmt.Sprintf("nats: {url: %q, user: operator, password: secret}", r.URL), 1)), 0o600))
}

func TestDoctorComparesWhatTheOperatorMayDo(t *testing.T) {
	t.Parallel()
	const get, missing, more = "$JS.API.STREAM.MSG.GET.ORDERS", "the user operator may not publish to ", "the user operator may also "
	publishes := func(allow []string, deny ...string) *server.Permissions {
		return &server.Permissions{Publish: &server.SubjectPermission{Allow: allow, Deny: deny}}
	}
	for name, c := range map[string]struct {
		change func([]string) *server.Permissions
		want   []string // Of what doctor says; no other text about permissions may be there.
	}{
		"as shipped": {func(all []string) *server.Permissions { return publishes(all) }, nil},
		"wider": {func(all []string) *server.Permissions {
			return publishes(append(all, "orders.>", "circuits.sandbox.*"))
		},
			[]string{more + "publish to orders.>: take"}},
		"denied": {func(all []string) *server.Permissions { return publishes(all, get) }, []string{missing + get + ": grant"}},
		"narrower": {func(all []string) *server.Permissions {
			return publishes(slices.DeleteFunc(all, func(one string) bool { return one == get || one == "audit.*" }))
		}, []string{missing + "audit.*, " + get + ": grant"}},
		"unbounded": {func([]string) *server.Permissions { return nil }, []string{more + "publish to >: take", more + "subscribe to >: take"}},
		"silent": {func(all []string) *server.Permissions {
			return publishes(slices.DeleteFunc(all, func(one string) bool { return one == userInfoSubject }))
		}, []string{missing + userInfoSubject + ": grant", "not looked at: permissions and the clock at server test, "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := idle(t)
			r.asOperator(c.change)
			out := r.run(ExitPartly, "doctor")
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("doctor lacks %q:\n%s", want, out)
				}
			}
			if said := strings.Count(out, "the user operator may ") + strings.Count(out, "permissions and the clock at"); said != len(c.want) {
				t.Errorf("doctor says %d things about permissions, want %d:\n%s", said, len(c.want), out)
			}
		})
	}
}

// TestDoctorLooksAtEachServer has two servers, of which the certificate of one ends soon, and an
// address at which there is none.
func TestDoctorLooksAtEachServer(t *testing.T) {
	t.Parallel()
	r := idle(t)
	now := time.Now()
	var urls []string
	var authorities []byte
	for name, left := range map[string]time.Duration{"lasting": 24 * 365 * time.Hour, "ending": 24 * time.Hour} {
		certificate := testbench.NewCertificate(t)
		certificate.Renew(t, now.Add(-time.Hour), now.Add(left))
		pair, err := tls.LoadX509KeyPair(certificate.File, certificate.Key)
		r.Must(err)
		text, err := os.ReadFile(certificate.File)
		r.Must(err)
		authorities = append(authorities, text...)
		urls = append(urls, testbench.Serve(t, &server.Options{
			ServerName: name, Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
			TLS: true, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		}).ClientURL())
	}
	urls = append(urls, closedURL(t))
	file := filepath.Join(t.TempDir(), "ca.crt")
	r.Must(os.WriteFile(file, authorities, 0o600))
	text, err := os.ReadFile(r.config)
	r.Must(err)
	r.Must(os.WriteFile(r.config, []byte(strings.Replace(string(text), fmt.Sprintf("nats: {url: %q}", r.URL),
		fmt.Sprintf("nats: {url: %q, ca_file: %q}", strings.Join(urls, ","), file), 1)), 0o600))
	var of []string
	for _, one := range r.findings(ExitPartly) {
		if strings.Contains(one.What, "certificate of server") || strings.Contains(one.What, "of nats.url") || strings.Contains(one.What, "the broker's certificate") {
			of = append(of, one.Danger+" "+one.What)
		}
	}
	slices.Sort(of)
	if len(of) != 2 || !strings.HasPrefix(of[0], "soon server "+urls[2]+" of nats.url does not answer (") || !strings.HasPrefix(of[1], "soon the certificate of server ending ends at ") {
		t.Errorf("of the servers is found %q", of)
	}
}

// closedURL is the address of a broker that has ended.
func closedURL(t *testing.T) string {
	t.Helper()
	gone := testbench.Serve(t, &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	url := gone.ClientURL()
	gone.Shutdown()
	gone.WaitForShutdown()
	return strings.Replace(url, "nats://", "tls://", 1)
}

func TestClockThatIsOffIsFound(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	ended := began.Add(5 * time.Second) // The round trip, during which the clock was read.
	for off, want := range map[time.Duration]string{
		0: "", 3 * time.Second: "", -clockDiffers + 1: "", 5*time.Second + clockDiffers - 1: "",
		-clockDiffers: "differ by 2s", 5*time.Second + clockDiffers: "differ by 2s", -time.Hour: "differ by 1h0m0s", time.Hour: "differ by 59m55s",
	} {
		found := clockOff("server a", began.Add(off), began, ended)
		if (len(found) > 0) != (want != "") || want != "" && (found[0].Danger != later || !strings.Contains(found[0].What, "server a and of this machine "+want)) {
			t.Errorf("a clock at %v is found as %v, want %q", off, found, want)
		}
	}
}
