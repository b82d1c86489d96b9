package config

import (
	"time"

	"arauto/schemas/subject"
)

// The profiles. Anything that is not local is guarded like production.
const (
	profileProduction = "production"
	profileLocal      = "local"
)

// file is the YAML file, key by key. A field without a yaml tag is not a key. The tag
// within is the range that a value of the file must lie in, both ends included.
type file struct {
	Profile   string    `yaml:"profile"`
	TimeScale int       `yaml:"time_scale"` // How many times as fast retries wait. Default 1; more is for tests.
	HashKey   reference `yaml:"hash_key,omitempty"`
	// Deployment is in the CloudEvents source of each event, so that subscribers of several
	// deployments tell them apart. "" for none.
	Deployment string                  `yaml:"deployment,omitempty"`
	NATS       natsSection             `yaml:"nats"`
	Tracing    tracingSection          `yaml:"tracing"`
	Topology   topologyPart            `yaml:"topology"`
	Gateway    Gateway                 `yaml:"gateway"`
	Lookup     Lookup                  `yaml:"lookup"`
	Normalize  Normalize               `yaml:"normalize"`
	Sweep      Sweep                   `yaml:"sweep"`
	Expect     Expect                  `yaml:"expect"`
	Console    Console                 `yaml:"console"`
	Providers  map[string]providerPart `yaml:"providers,omitempty"`
}

// natsSection is NATS before its password is resolved.
type natsSection struct {
	URL             string    `yaml:"url"`
	Plaintext       string    `yaml:"plaintext"` // Why a password may go to another host without TLS: private-network, or "" for that it may not.
	MonitorURL      string    `yaml:"monitor_url"`
	User            string    `yaml:"user"`
	Password        reference `yaml:"password,omitempty"`
	NKeyFile        string    `yaml:"nkey_file"`
	CredentialsFile string    `yaml:"credentials_file"`
	CertificateFile string    `yaml:"certificate_file"`
	KeyFile         string    `yaml:"key_file"`
	CAFile          string    `yaml:"ca_file"`
	Name            string    `yaml:"name"`
}

// providerPart configures one provider.
type providerPart struct {
	Retry     string          `yaml:"retry,omitempty"`
	Delays    []time.Duration `yaml:"delays,omitempty"`
	RateLimit RateLimit       `yaml:"rate_limit,omitempty"`
	Limit     Limit           `yaml:"limit,omitempty"`

	Networks          []string          `yaml:"networks,omitempty"` // From which webhooks are taken. Default: any.
	ClientCertificate ClientCertificate `yaml:"client_certificate,omitempty"`

	Accounts map[string]accountPart `yaml:"accounts,omitempty"`
}

// accountPart configures one merchant's account.
type accountPart struct {
	WebhookSecrets []reference          `yaml:"webhook_secrets,omitempty"`
	PathKeys       []reference          `yaml:"path_keys,omitempty"`
	Settings       map[string]reference `yaml:"settings,omitempty"`
	RateLimit      RateLimit            `yaml:"rate_limit,omitempty"`
	Limit          Limit                `yaml:"limit,omitempty"`
	// Shop names whose order numbers the account's payments carry: the same number in two shops
	// is two orders. "" is one shop like any other.
	Shop string `yaml:"shop,omitempty"`

	Networks          []string          `yaml:"networks,omitempty"` // Instead of the provider's.
	ClientCertificate ClientCertificate `yaml:"client_certificate,omitempty"`
}

// NATS says how to reach the broker. Every process has its own user there.
type NATS struct {
	URL             string   // One URL, or several with commas between them; never with user information.
	Monitors        []string // Monitoring addresses, http or https; none leaves the sync policy unseen.
	User            string   // "" for none.
	Password        Secret   // Empty for none.
	NKeyFile        string   // A file with the seed of an NKey of type user, instead of user and password; "" for none.
	NKey            string   // The public key of that seed, for people; "" for none.
	CredentialsFile string   // A NATS .creds file instead of user and password, "" for none.
	CertificateFile string   // PEM: the client's certificate and the rest of its chain, alone or beside another login; "" for none.
	KeyFile         string   // PEM: the private key of that certificate.
	CAFile          string   // PEM roots for TLS, "" for those of the system.
	Name            string   // Shown in the broker's connection list; "" leaves it to the process.
}

// topologyPart sizes the streams; deploy/runtime/topology applies it.
type topologyPart struct {
	Replicas int  `yaml:"replicas"`                        // 1 without a cluster, else 3 or 5. Default 1.
	Store    Size `yaml:"store" within:"64MiB 1048576GiB"` // The broker's JetStream store, of which the streams may take 80 %. Default 8 GiB.
}

// Gateway configures the role that takes webhooks in.
type Gateway struct {
	Listen         string        `yaml:"listen"`                            // Public address. Default 127.0.0.1:8080.
	Plaintext      string        `yaml:"plaintext"`                         // Why Listen may serve other hosts without TLS: behind-tls-proxy, or "" for that it may not.
	Admin          string        `yaml:"admin"`                             // Health and metrics. Default 127.0.0.1:9091.
	TLS            TLS           `yaml:"tls"`                               // Of the public address. Default: plain HTTP.
	PublishTimeout time.Duration `yaml:"publish_timeout" within:"10ms 15s"` // How long a webhook may wait for durability; after it, 503. Default 800 ms: providers time out soon after a second. At most 15 s together with read_timeout.
	BodyLimit      Size          `yaml:"body_limit" within:"1KiB 8MiB"`     // Largest webhook body. Default 256 KiB.
	HeaderLimit    Size          `yaml:"header_limit" within:"1KiB 1MiB"`   // Largest request line and headers. Default 16 KiB.
	ReadTimeout    time.Duration `yaml:"read_timeout" within:"10ms 15s"`    // For one whole request. Default 5 s. At most 15 s together with publish_timeout, or a stop would cut webhooks off.
	WriteTimeout   time.Duration `yaml:"write_timeout" within:"10ms 5m"`    // For one response. Default 5 s.
	IdleTimeout    time.Duration `yaml:"idle_timeout" within:"10ms 1h"`     // Between two requests of a connection. Default 920 s, above that of any load balancer but Envoy.
	MaxConnections int           `yaml:"max_connections" within:"1 262144"` // Connections at once, 256 Ki at most (Fiber). One more is accepted by closing the connection that has waited for its client the longest. Default 2,048.
	BodyMemory     Size          `yaml:"body_memory" within:"1KiB 64GiB"`   // All bodies that are being read, beyond the first 8 KiB of each. Default 16 MiB.
	MemoryLimit    Size          `yaml:"memory_limit"`                      // Of the Go runtime, as GOMEMLIMIT, which comes first. Default 192 MiB.

	Limit Limit `yaml:"limit"` // Of every account, unless its provider or itself has another. Default: none.

	Failures FailureLimit `yaml:"authentication_failures"` // Of each client's address.
	Proxies  Proxies      `yaml:"proxies"`                 // That may say a client's address. Default: none.

	Durability string `yaml:"durability"` // What a 200 must survive, in the words of deploy/runtime/durability; less is refused. Default "": nothing is claimed.

	Tokens subject.Tokens `yaml:"-"` // Made with hash_key.

	credentials credentials
	limits      map[owner]Limit
	access      map[owner]Access
}

// Limit is how much one gateway accepts of one account; a webhook over it gets a 503. n
// gateways accept n times as much. In a provider's or an account's section, 0 leaves a part
// as it is. The upper end of each range is so high that a larger value can only be a typing
// error; with fewer bytes than the lower end the largest notification would never be
// stored.
type Limit struct {
	Rate  int  `yaml:"rate" within:"1 10000"`      // Webhooks per second, each of which is at least one look-up. Default 0: any number.
	Burst int  `yaml:"burst" within:"1 10000"`     // Webhooks at once after a quiet time. Default 0: twice the rate.
	Bytes Size `yaml:"bytes" within:"64KiB 64GiB"` // Bytes stored per minute; a webhook has some 700, and 8 KiB at the most. Default 0: any number.
}

// TLS names the files of a certificate, both or neither. Gateway has read them once; the
// server reads them again when they are renewed.
type TLS struct {
	Certificate string `yaml:"certificate"` // PEM: the certificate, then the rest of its chain. "" for plain HTTP.
	Key         string `yaml:"key"`         // PEM: the private key of the first one.
}

// Lookup configures the role that asks providers.
type Lookup struct {
	Admin       string        `yaml:"admin"`                            // Default 127.0.0.1:9092.
	Concurrency int           `yaml:"concurrency" within:"1 4096"`      // Fresh look-ups in flight per provider, and as many due ones. Default 64.
	AskTimeout  time.Duration `yaml:"ask_timeout" within:"10ms 5m"`     // For one whole exchange with a provider. Default 10 s.
	AnswerLimit Size          `yaml:"answer_limit" within:"1KiB 64MiB"` // Largest answer that is read. Default 1 MiB.
	Providers   []string      `yaml:"providers,omitempty"`              // The providers that this process asks. None in the file means all; here they are always listed.

	Default   RateLimit      `yaml:"rate_limit"` // Of every account, unless its provider or itself has another.
	Tokens    subject.Tokens `yaml:"-"`          // Made with hash_key.
	TimeScale int            `yaml:"-"`          // How many times as fast as a real clock retries wait: 1 but in tests.

	settings   map[owner]map[string]Secret // By setting.
	retries    map[string]Retry
	rateLimits map[owner]RateLimit
}

// RateLimit bounds how much is asked about one account. All processes share rate and burst;
// the concurrency is that of each. A part that a provider's or an account's section leaves out stays as it is. 0 would
// stop an account for good and is refused.
type RateLimit struct {
	Rate        int `yaml:"rate,omitempty" within:"1 10000"`       // Look-ups per second. Default 200.
	Burst       int `yaml:"burst,omitempty" within:"1 10000"`      // Look-ups at once after a quiet time. Default 400.
	Concurrency int `yaml:"concurrency,omitempty" within:"1 4096"` // Look-ups in flight in one process. Default 32.
}

// Normalize configures the role that folds observations into events.
type Normalize struct {
	Admin       string `yaml:"admin"`                       // Default 127.0.0.1:9093.
	Concurrency int    `yaml:"concurrency" within:"1 4096"` // Payments handled at once in this process. Default 64.

	Tokens     subject.Tokens `yaml:"-"` // Made with hash_key.
	Deployment string         `yaml:"-"` // In the CloudEvents source of each event; "" for none.
	TimeScale  int            `yaml:"-"` // How many times as fast as a real clock corrections wait: 1 but in tests.

	RemoveAfter time.Duration `yaml:"-"` // That of sweep.
}

// Sweep configures the role that looks up stale payments and removes processed messages.
type Sweep struct {
	Admin             string        `yaml:"admin"`                            // Default 127.0.0.1:9094.
	Every             time.Duration `yaml:"every" within:"100ms 1h"`          // Pause between two rounds. Default 1 min.
	Horizon           time.Duration `yaml:"horizon" within:"1h 87600h"`       // A payment without a transition for so long is not looked up again. Default 400 days.
	KeepNotifications time.Duration `yaml:"keep_notifications"`               // How long processed notifications stay while there is room, at most 29 days. Default 72 h.
	CompactAfter      time.Duration `yaml:"compact_after" within:"1h 87600h"` // How long a payment has not moved before only its last event stays. Default 180 days.
	RemoveAfter       time.Duration `yaml:"remove_after"`                     // How long a payment has not moved before it is removed from ORDERS, 0 for never, which is the default.

	Tokens subject.Tokens `yaml:"-"` // Made with hash_key.
}

// Expect configures the role that holds what internal services expect against what
// providers say.
type Expect struct {
	Admin   string        `yaml:"admin"`                              // Default 127.0.0.1:9095.
	Without time.Duration `yaml:"without_deadline" within:"1h 9600h"` // How long a payment is expected that was announced without a deadline. Default 30 days.
	Token   reference     `yaml:"http_token,omitempty"`               // Bearer token of the routes /expectations/ on the admin listener, of 16 bytes or more. Default: there are no such routes.

	Tokens subject.Tokens `yaml:"-"` // Made with hash_key.
	Bearer Secret         `yaml:"-"` // The token, empty for none.

	Deployment string `yaml:"-"` // In the CloudEvents source of each outcome; "" for none.
	TimeScale  int    `yaml:"-"` // How many times as fast as a real clock look-ups are made: 1 but in tests.
}

// Console configures the web pages for people. They only read, unless there is a second user
// at the broker for what operators do.
type Console struct {
	Admin    string    `yaml:"admin"`                       // Default 127.0.0.1:9096.
	Listen   string    `yaml:"listen"`                      // Where the pages are. Default 127.0.0.1:8070.
	Index    string    `yaml:"index"`                       // Folder of the file by which payments are searched. Default console-index, beside the configuration.
	Operator string    `yaml:"operator_user"`               // User at the broker for what operators do there. Default operator.
	Password reference `yaml:"operator_password,omitempty"` // Its password. Default: no page changes anything.

	Hosts     []string      `yaml:"hosts,omitempty"` // Host names by which browsers reach the console. Those of a loopback address are always accepted there.
	Plaintext string        `yaml:"plaintext"`       // Why Listen may serve other hosts without TLS: behind-tls-proxy, or "" for that it may not.
	Access    ConsoleAccess `yaml:"access"`          // Who may read and act.

	Tokens  subject.Tokens `yaml:"-"` // Made with hash_key.
	Acts    Secret         `yaml:"-"` // The password, empty for none.
	Removed time.Duration  `yaml:"-"` // remove_after of sweep.
}

// Retry is what the file says about repeating a provider's failed look-ups.
type Retry struct {
	Policy string          // "default", "yapay", or "" for the default.
	Delays []time.Duration // Offsets from the first failure, ascending; when there are any, they replace the policy.
}

// day is long enough a unit for what is kept for months.
const day = 24 * time.Hour

// defaults are the values of every key that the file leaves out.
func defaults() file {
	return file{
		Profile:   profileProduction,
		TimeScale: 1,
		NATS:      natsSection{URL: "nats://127.0.0.1:4222"},
		Tracing:   tracingSection{OneIn: 100},
		Topology:  topologyPart{Replicas: 1, Store: 8 * gib},
		Gateway: Gateway{
			Listen: "127.0.0.1:8080", Admin: "127.0.0.1:9091",
			PublishTimeout: 800 * time.Millisecond,
			BodyLimit:      256 * kib, HeaderLimit: 16 * kib,
			ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, IdleTimeout: 920 * time.Second,
			MaxConnections: 2048, BodyMemory: 16 * mib, MemoryLimit: 192 * mib,
			Failures: FailureLimit{Rate: 1},
		},
		Lookup:    Lookup{Admin: "127.0.0.1:9092", Concurrency: 64, AskTimeout: 10 * time.Second, AnswerLimit: mib, Default: RateLimit{Rate: 200, Burst: 400, Concurrency: 32}},
		Normalize: Normalize{Admin: "127.0.0.1:9093", Concurrency: 64},
		Sweep: Sweep{
			Admin: "127.0.0.1:9094", Every: time.Minute, Horizon: 400 * day,
			KeepNotifications: 3 * day, CompactAfter: 180 * day,
		},
		Expect: Expect{Admin: "127.0.0.1:9095", Without: 30 * day},
		Console: Console{Admin: "127.0.0.1:9096", Listen: "127.0.0.1:8070", Index: "console-index", Operator: "operator",
			Access: ConsoleAccess{Mode: AccessOff, Idle: 30 * time.Minute, Lifetime: 12 * time.Hour}},
	}
}
