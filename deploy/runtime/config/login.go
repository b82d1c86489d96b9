package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// checkLogin refuses two logins at once, and files that hold none. A client certificate may
// stand beside a login, because a broker may ask for both; without one it is the login.
func (k *checks) checkLogin(n natsSection) {
	password := n.User != "" || !n.Password.IsZero()
	for path, file := range map[string]string{"nats.nkey_file": n.NKeyFile, "nats.credentials_file": n.CredentialsFile} {
		if file != "" && password {
			k.refuse(path, "stands beside nats.user or nats.password; keep one way to log in")
		}
	}
	if n.NKeyFile != "" && n.CredentialsFile != "" {
		k.refuse("nats.nkey_file", "stands beside nats.credentials_file; keep one way to log in")
	}
	k.checkCredentials(n.CredentialsFile)
	k.checkClientCertificate(n)
}

// checkCredentials refuses a file that is no NATS credentials file. Nothing of its content is
// in the problem.
func (k *checks) checkCredentials(file string) {
	data := k.readable("nats.credentials_file", file, "file")
	if data == nil {
		return
	}
	token, err := nkeys.ParseDecoratedJWT(data)
	if err == nil { // It takes a bare seed for a JWT, which the client would send.
		_, err = jwt.DecodeUserClaims(token)
	}
	key, seedErr := nkeys.ParseDecoratedUserNKey(data)
	if err != nil || seedErr != nil {
		k.refuse("nats.credentials_file", "holds no user's JWT with its seed; write the path of a .creds file, as nsc generates it")
		return
	}
	key.Wipe()
}

// nkey returns the public key of the seed in a file, "" for none.
func (k *checks) nkey(file string) string {
	data := k.readable("nats.nkey_file", file, "file")
	if data == nil {
		return ""
	}
	key, err := nkeys.ParseDecoratedUserNKey(data)
	public := ""
	if err == nil {
		defer key.Wipe()
		public, err = key.PublicKey()
	}
	if err != nil {
		k.refuse("nats.nkey_file", "holds no seed of a user; write the path of a file with the line that begins with SU, as nk -gen user prints it")
		return ""
	}
	return public
}

func (k *checks) checkClientCertificate(n natsSection) {
	switch {
	case n.CertificateFile == "" && n.KeyFile == "":
		return
	case n.KeyFile == "":
		k.refuse("nats.certificate_file", "has no key; write nats.key_file too")
		return
	case n.CertificateFile == "":
		k.refuse("nats.key_file", "has no certificate; write nats.certificate_file too")
		return
	}
	certificate := k.readable("nats.certificate_file", n.CertificateFile, "PEM file")
	key := k.readable("nats.key_file", n.KeyFile, "PEM file")
	if certificate == nil || key == nil {
		return
	}
	if _, err := tls.X509KeyPair(certificate, key); err != nil {
		k.refuse("nats.certificate_file", "is not a usable pair with nats.key_file: "+strings.TrimPrefix(err.Error(), "tls: ")+
			"; write the PEM files of a certificate with its chain and of its own key")
	}
}

// Login returns the client's options for authentication at the broker. The files of
// credentials and certificates are read at each connection, so renewed ones need no restart.
func (n NATS) Login() []nats.Option {
	var options []nats.Option
	if n.User != "" {
		options = append(options, nats.UserInfo(n.User, n.Password.Reveal()))
	}
	if n.NKeyFile != "" {
		options = append(options, nkeyLogin(n.NKeyFile))
	}
	if n.CredentialsFile != "" {
		options = append(options, nats.UserCredentials(n.CredentialsFile))
	}
	if n.CertificateFile != "" {
		options = append(options, nats.ClientCert(n.CertificateFile, n.KeyFile))
	}
	if n.CAFile != "" {
		options = append(options, nats.RootCAs(n.CAFile))
	}
	return options
}

// nkeyLogin reads the seed once for its public key, and for each signature.
func nkeyLogin(file string) nats.Option {
	return func(o *nats.Options) error {
		login, err := nats.NkeyOptionFromSeed(file)
		if err != nil {
			return fmt.Errorf("read nats.nkey_file: %w", err)
		}
		return login(o)
	}
}

// Advice says what to do about an error of a connection to the broker whose cause is the
// login or TLS, "" for any other. It holds no secret: of an NKey the public key.
func (n NATS) Advice(err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAccountAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return "the JWT of nats.credentials_file or of its account has ended or was revoked: write a new file, which is read at the next attempt"
	case errors.Is(err, nats.ErrAuthorization):
		return n.refusedLogin()
	case errors.As(err, &unknown):
		return "write the authority of the broker's certificate as nats.ca_file"
	case errors.As(err, &name), errors.As(err, &invalid):
		return "compare the names and dates of the broker's certificate with nats.url and the clock"
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "the broker speaks no TLS: give it a certificate, or write nats:// without nats.ca_file and nats.certificate_file"
	case errors.Is(err, nats.ErrSecureConnRequired):
		return "the broker asks for TLS: write tls:// in nats.url"
	case err != nil && strings.Contains(err.Error(), "remote error: tls: "):
		return n.refusedCertificate()
	}
	return ""
}

// refusedLogin says what to compare where the broker knows no user of this login.
func (n NATS) refusedLogin() string {
	switch {
	case n.User != "":
		return "compare nats.user and nats.password with the broker's users"
	case n.NKeyFile != "":
		return "the broker needs a user {nkey: " + n.NKey + "}, or nats.nkey_file the seed of a user that it has"
	case n.CredentialsFile != "":
		return "the broker knows no account of nats.credentials_file, or the user was revoked: push the account to the broker, or write a new file"
	case n.CertificateFile != "":
		return "the broker needs verify_and_map and a user that is called like a name or the subject of nats.certificate_file"
	}
	return "the broker asks for a login: write nats.user and nats.password, nats.nkey_file, nats.credentials_file or nats.certificate_file"
}

// refusedCertificate says what to compare where the broker ended a handshake.
func (n NATS) refusedCertificate() string {
	if n.CertificateFile == "" {
		return "the broker asks for a client's certificate: write nats.certificate_file and nats.key_file"
	}
	return "the broker refuses nats.certificate_file: compare its authority with the ca_file of the broker's tls section, and its dates with the clock"
}
