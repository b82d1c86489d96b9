package operator

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"arauto/deploy/runtime/testbench"
)

func TestCertificateThatEndedEndangersWebhooks(t *testing.T) {
	t.Parallel()
	certificate := testbench.NewCertificate(t)
	now := time.Now()
	for left, want := range map[time.Duration][]danger{-time.Minute: {losing}, time.Hour: {later}, certificateEnds + time.Hour: nil} {
		certificate.Renew(t, now.Add(-time.Hour), now.Add(left))
		text, err := os.ReadFile(certificate.File)
		testbench.Must(t, err)
		chain, err := chainOf(text)
		testbench.Must(t, err)
		var got []danger
		for _, one := range endOf("it", chain, now) {
			got = append(got, one.Danger)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v before its end: %v, want %v", left, got, want)
		}
	}
	if _, err := chainOf([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")); err == nil {
		t.Error("what is no certificate is decoded")
	}
}

// credentials writes a NATS credentials file of a user whose JWT ends at a time.
func credentials(t *testing.T, ends time.Time) string {
	t.Helper()
	issuer, err := nkeys.CreateAccount()
	testbench.Must(t, err)
	user, err := nkeys.CreateUser()
	testbench.Must(t, err)
	public, err := user.PublicKey()
	testbench.Must(t, err)
	claims := jwt.NewUserClaims(public)
	claims.Expires = ends.Unix()
	token, err := claims.Encode(issuer)
	testbench.Must(t, err)
	seed, err := user.Seed()
	testbench.Must(t, err)
	text, err := jwt.FormatUserConfig(token, seed)
	testbench.Must(t, err)
	file := filepath.Join(t.TempDir(), "operator.creds")
	testbench.Must(t, os.WriteFile(file, text, 0o600))
	return file
}

// TestDoctorNamesWhatEnds has a file of each kind that ends within a week, and a file that is
// elsewhere. The broker needs none of them.
func TestDoctorNamesWhatEnds(t *testing.T) {
	t.Parallel()
	r := idle(t)
	now := time.Now()
	in := func(left time.Duration) testbench.Certificate {
		made := testbench.NewCertificate(t)
		made.Renew(t, now.Add(-48*time.Hour), now.Add(left))
		return made
	}
	own, old, lasting := in(24*time.Hour), in(-time.Hour), in(24*365*time.Hour)
	both := filepath.Join(t.TempDir(), "both.crt")
	var bundle []byte
	for _, one := range []testbench.Certificate{old, lasting} {
		text, err := os.ReadFile(one.File)
		r.Must(err)
		bundle = append(bundle, text...)
	}
	r.Must(os.WriteFile(both, bundle, 0o600))
	text, err := os.ReadFile(r.config)
	r.Must(err)
	changed := strings.Replace(string(text), fmt.Sprintf("nats: {url: %q}", r.URL), fmt.Sprintf("nats: {url: %q, ca_file: %q, certificate_file: %q, key_file: %q, credentials_file: %q}",
		r.URL, in(48*time.Hour).File, own.File, own.Key, credentials(t, now.Add(72*time.Hour))), 1)
	changed = strings.Replace(changed, "  sandbox:\n", fmt.Sprintf("  sandbox:\n    client_certificate: {ca_file: %q}\n", both), 1)
	changed = strings.Replace(changed, "        path_keys: [key]\n", fmt.Sprintf("        path_keys: [key]\n        client_certificate: {ca_file: %q}\n", old.File), 1)
	r.Must(os.WriteFile(r.config, fmt.Appendf([]byte(changed), "gateway: {tls: {certificate: elsewhere.crt, key: elsewhere.key}}\n"), 0o600))
	_, out, _ := arauto(t, "doctor", "--config", r.config)
	out = strings.Join(strings.Fields(out), " ")
	for _, want := range []string{
		"soon the certificate of nats.certificate_file ends at ", "soon the user of nats.credentials_file ends at ", "soon the authority of nats.ca_file ends at ",
		"soon the authority of providers.sandbox.client_certificate.ca_file ended at ",
		"webhooks the authority of providers.beeteller.accounts.default.client_certificate.ca_file ended at ",
		"not looked at: the gateway's certificate, which cannot be read here; ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("doctor lacks %q:\n%s", want, out)
		}
	}
}

func TestCredentialsWithoutAnEndEndNever(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(credentials(t, time.Unix(0, 0)))
	testbench.Must(t, err)
	if found, err := endOfCredentials("it", text, time.Now()); err != nil || len(found) > 0 {
		t.Errorf("found %v, %v", found, err)
	}
	if _, err := endOfCredentials("it", []byte("no credentials"), time.Now()); err == nil {
		t.Error("what is no credentials file is decoded")
	}
}
