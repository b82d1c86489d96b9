package config

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
)

// pair writes a certificate and its key beside the configuration.
func pair(t *testing.T, folder, name string) {
	t.Helper()
	file := filepath.Join(folder, name)
	testbench.Certificate{File: file + ".crt", Key: file + ".key"}.Renew(t, time.Unix(0, 0), time.Now().Add(time.Hour))
}

func TestTLSFilesStandBesideTheConfiguration(t *testing.T) {
	t.Parallel()
	path := write(t, "hash_key: ${HASH}\ngateway: {tls: {certificate: a.crt, key: \"${KEY}\"}}\n")
	folder := filepath.Dir(path)
	pair(t, folder, "a")
	c, err := Load(path, environment("KEY", filepath.Join(folder, "a.key")), known, RoleGateway)
	testbench.Must(t, err)
	g, err := c.Gateway()
	if want := (TLS{Certificate: filepath.Join(folder, "a.crt"), Key: filepath.Join(folder, "a.key")}); err != nil || g.TLS != want {
		t.Errorf("the files are %+v, %v; want %+v", g.TLS, err, want)
	}
}

func TestPlainHTTPIsTheDefaultAlsoFromEmptyVariables(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "gateway: {tls: {certificate: '${EMPTY:-}', key: '${ABSENT:-}'}}\n"} {
		g, err := load(t, "hash_key: ${HASH}\n"+text, RoleGateway).Gateway()
		if err != nil || g.TLS != (TLS{}) {
			t.Errorf("with %q the files are %+v, %v", text, g.TLS, err)
		}
	}
}

func TestTLSFilesAreOfNoConcernToOtherRoles(t *testing.T) {
	t.Parallel()
	load(t, "hash_key: ${HASH}\ngateway: {tls: {certificate: nowhere, key: nowhere}}\n", RoleLookup, RoleNormalize, RoleSweep)
}

func TestUnusableTLSIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ tls, want string }{
		"certificate alone": {
			"certificate: a.crt", "FILE:2: gateway.tls: has a certificate without its key; write gateway.tls.key too, or remove both for plain HTTP",
		},
		"key alone": {
			"key: a.key", "FILE:2: gateway.tls: has a key without its certificate; write gateway.tls.certificate too, or remove both for plain HTTP",
		},
		"no files": {
			"certificate: x, key: y",
			"FILE:2: gateway.tls.certificate: cannot read the file: no such file or directory; write the path of a readable PEM file\n" +
				"FILE:2: gateway.tls.key: cannot read the file: no such file or directory; write the path of a readable PEM file",
		},
		"the key of another": {
			"certificate: a.crt, key: b.key",
			"FILE:2: gateway.tls: is not a usable pair: private key does not match public key; write the PEM files of a certificate with its chain and of its own key",
		},
		"no PEM": {
			"certificate: arauto.yaml, key: a.key",
			"FILE:2: gateway.tls: is not a usable pair: failed to find any PEM data in certificate input; write the PEM files of a certificate with its chain and of its own key",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "hash_key: ${HASH}\ngateway: {tls: {"+c.tls+"}}\n")
			pair(t, filepath.Dir(path), "a")
			pair(t, filepath.Dir(path), "b")
			_, err := Load(path, environment(), known, RoleGateway)
			if err == nil {
				t.Fatal("it was accepted")
			}
			if got := strings.ReplaceAll(err.Error(), path, "FILE"); got != c.want {
				t.Errorf("it says\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}
