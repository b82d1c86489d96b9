package config

import (
	"net/url"
	"slices"
	"strings"
)

// separated takes a list with commas apart, without empty entries.
func separated(list string) []string {
	all := strings.Split(list, ",")
	for i, one := range all {
		all[i] = strings.TrimSpace(one)
	}
	return slices.DeleteFunc(all, func(one string) bool { return one == "" })
}

// natsSchemes are what nats.go can dial.
var natsSchemes = []string{"nats", "tls", "ws", "wss"}

func (k *checks) checkNATS(n natsSection) {
	for one := range strings.SplitSeq(n.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		switch { // The URL itself is not shown, because people put passwords there.
		case err != nil || u.Host == "" || !slices.Contains(natsSchemes, u.Scheme):
			k.refuse("nats.url", "is not a broker's URL; write one such as nats://127.0.0.1:4222, several with commas between them")
		case u.User != nil:
			k.refuse("nats.url", "carries a user or password; write them as nats.user and nats.password")
		}
	}
	for _, one := range separated(n.MonitorURL) {
		u, err := url.Parse(one)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "":
			k.refuse("nats.monitor_url", "is not a monitoring address; write one such as http://127.0.0.1:8222, those of a cluster with commas between them")
		case u.User != nil:
			k.refuse("nats.monitor_url", "carries a user or password; a broker's monitoring address has none, so keep it on an internal network")
		}
	}
	k.checkLogin(n)
	k.readable("nats.ca_file", n.CAFile, "file")
}

// readable reads a file that the key at path names, nil when it names none or an
// unreadable one. kind is what the file should be.
func (k *checks) readable(path, file, kind string) []byte {
	return k.readBy(readBounded, path, file, kind)
}

// watched is readable for a file whose change is a change of the configuration.
func (k *checks) watched(path, file, kind string) []byte {
	return k.readBy(k.content, path, file, kind)
}

func (k *checks) readBy(read func(name string) ([]byte, error), path, file, kind string) []byte {
	if file == "" {
		return nil
	}
	data, err := read(k.beside(file))
	if err != nil {
		k.refuse(path, "cannot read the file: "+reason(err)+"; write the path of a readable "+kind)
		return nil
	}
	return data
}

// resolveNATS reads the broker's password, which every role needs.
func (k *checks) resolveNATS() NATS {
	n := k.file.NATS
	resolved := NATS{
		URL: n.URL, Monitors: separated(n.MonitorURL), User: n.User, Name: n.Name,
		NKeyFile: k.beside(n.NKeyFile), NKey: k.nkey(n.NKeyFile), CredentialsFile: k.beside(n.CredentialsFile),
		CertificateFile: k.beside(n.CertificateFile), KeyFile: k.beside(n.KeyFile), CAFile: k.beside(n.CAFile),
	}
	if !n.Password.IsZero() {
		value, ok := k.resolve(n.Password)
		if !ok {
			return resolved
		}
		resolved.Password = NewSecret(value)
	}
	switch _, present := k.lines["nats.password"]; {
	case n.User != "" && !present, n.User != "" && !n.Password.IsZero() && resolved.Password.Empty():
		k.refuse("nats.user", "has no password; write nats.password as ${NAME} or {file: path}")
	case n.User == "" && !resolved.Password.Empty() && n.CredentialsFile == "" && n.NKeyFile == "":
		k.refuse("nats.password", "has no user; write nats.user")
	}
	return resolved
}
