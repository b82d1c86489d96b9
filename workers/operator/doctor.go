package operator

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
)

// danger is how soon a finding costs money.
type danger int

const (
	losing  danger = iota // Webhooks are refused, or a 200 is worth less than claimed.
	stopped               // Order events do not come.
	waiting               // Some payments wait for a person.
	later                 // It becomes one of the above if nothing is done.
)

var dangerNames = map[danger]string{losing: "webhooks", stopped: "events", waiting: "payments", later: "soon"}

// String is what the finding endangers, in the words of MarshalText.
func (d danger) String() string { return dangerNames[d] }

// MarshalText returns what the finding endangers: webhooks, events or payments, or "soon".
func (d danger) MarshalText() ([]byte, error) { return []byte(dangerNames[d]), nil }

// Need is what a person must do, in a sentence that says it.
type Need struct {
	Danger danger `json:"danger"`
	What   string `json:"what"`
}

// Bounds of the checks. All are guesses: certificates are renewed a month before they end,
// and clocks that are kept in step differ by milliseconds.
const (
	certificateEnds = 21 * 24 * time.Hour
	clockDiffers    = 2 * time.Second
	dialTimeout     = 3 * time.Second
	staleAfter      = time.Minute
)

func newDoctor(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look at everything that can be wrong, and say what to do, the most dangerous first",
		Long: "Look at everything that can be wrong, and say what to do, the most dangerous first: the broker and what a 200\n" +
			"survives, streams and consumers against what is declared, fill, lag, circuits, dead letters, clocks,\n" +
			"certificates, and the addresses of the providers where this command has their settings. It changes nothing.\n" +
			"Exit code 0: nothing was found; 4: something was.",
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return s.examine(c) },
	}
}

// examine prints the findings.
func (s *settings) examine(c *cobra.Command) error {
	cfg, _, err := s.load()
	if err != nil {
		return err
	}
	found := certificateNeeds(cfg, time.Now())
	addresses, note := s.addressNeeds(c.Context())
	found = append(found, addresses...)
	err = s.connected(c, func(ctx context.Context, s *session) error {
		h, err := s.Health(ctx)
		if err != nil {
			return err
		}
		more, err := s.Findings(ctx, h)
		found = append(found, more...)
		return err
	})
	if err != nil {
		found = append(found, Need{losing, "the broker does not answer this command (" + err.Error() + "): see that it runs, and compare nats.url and the password"})
	}
	byDanger(found)
	lines := []string{line("nothing was found")}
	if len(found) > 0 {
		lines = nil
	}
	for _, one := range found {
		lines = append(lines, row(dangerNames[one.Danger], one.What))
	}
	if note != "" {
		lines = append(lines, line("not looked at: %s", note))
	}
	result := struct {
		Found     []Need `json:"found"`
		NotLooked string `json:"not_looked_at,omitempty"`
	}{append([]Need{}, found...), note}
	if err := s.show(c, result, lines...); err != nil || len(found) == 0 {
		return err
	}
	return errPartly
}

// Findings are what can be seen at the broker, of which h was read, the most dangerous
// first. With an error it returns what was found before.
func (s *Deployment) Findings(ctx context.Context, h Health) ([]Need, error) {
	found := slices.Clone(h.needs)
	if h.Durability.Unverified() && h.Durability.Claimed != 0 {
		found = append(found, Need{later, "whether a 200 survives " + h.Durability.Claimed.String() + " cannot be seen from here: ask /durability of a gateway"})
	}
	drift, err := topology.Diff(ctx, s.js, s.config.Topology())
	if err != nil {
		return found, fmt.Errorf("compare topology: %w", err)
	}
	for _, d := range drift {
		if d.Field != "" { // What is missing is listed by its health.
			found = append(found, Need{later, d.String() + ": arauto topology apply"})
		}
	}
	for _, c := range h.Consumers {
		if age := time.Duration(c.Oldest * float64(time.Second)); age > staleAfter && !c.Unworked && !c.Paused && !s.hostsStopped(c.Name, h.Circuits) {
			found = append(found, Need{waiting, fmt.Sprintf("consumer %s is %v behind: start more of its workers", c.Name, age.Round(time.Second))})
		}
	}
	clock, err := s.clockNeeds(ctx)
	if state, err := s.js.Conn().TLSConnectionState(); err == nil {
		found = append(found, endOf("the broker's certificate", state.PeerCertificates, time.Now())...)
	}
	found = append(found, clock...)
	byDanger(found)
	return found, err
}

// byDanger sorts findings, the most dangerous first.
func byDanger(found []Need) {
	slices.SortStableFunc(found, func(a, b Need) int { return cmp.Compare(a.Danger, b.Danger) })
}

// clockNeeds compares the broker's clock with this machine's.
func (s *Deployment) clockNeeds(ctx context.Context) ([]Need, error) {
	began := time.Now()
	stream, err := s.js.Stream(ctx, subject.Notifications)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil // The missing stream is listed.
	}
	if err != nil {
		return nil, fmt.Errorf("read the broker's clock: %w", err)
	}
	ended := time.Now()
	at := stream.CachedInfo().TimeStamp
	ahead := max(began.Sub(at), at.Sub(ended)) // At least, whatever the round trip took.
	if ahead < clockDiffers {
		return nil, nil
	}
	return []Need{{later, fmt.Sprintf("the clocks of the broker and of this machine differ by %v: set both by NTP", ahead.Round(time.Millisecond))}}, nil
}

// certificateNeeds looks at the gateway's certificate, where its file can be read here.
func certificateNeeds(cfg *config.Config, now time.Time) []Need {
	file := cfg.GatewayTLS().Certificate
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return []Need{{later, "the gateway's certificate cannot be read here: " + err.Error()}}
	}
	chain, err := chainOf(text)
	if err != nil {
		return []Need{{losing, "the gateway's certificate does not decode: write the PEM file of a certificate with its chain"}}
	}
	return endOf("the gateway's certificate", chain, now)
}

// endOf is a finding if a certificate of the chain has ended or ends soon.
func endOf(whose string, chain []*x509.Certificate, now time.Time) []Need {
	for _, one := range chain {
		switch left := one.NotAfter.Sub(now); {
		case left <= 0:
			return []Need{{losing, whose + " ended at " + one.NotAfter.Format(time.RFC3339) + ": renew its files"}}
		case left < certificateEnds:
			return []Need{{later, whose + " ends at " + one.NotAfter.Format(time.RFC3339) + ": renew its files"}}
		}
	}
	return nil
}

// addressNeeds dials the host of every account's look-ups. note says why none could be.
func (s *settings) addressNeeds(ctx context.Context) (found []Need, note string) {
	cfg, _, err := s.load(config.RoleLookup)
	if err != nil {
		return nil, "the providers' addresses, because the settings of the look-ups are not here"
	}
	look, err := cfg.Lookup()
	if err != nil {
		return nil, "the providers' addresses, because the settings of the look-ups are not here"
	}
	dialed := map[string]error{}
	for _, name := range look.Providers {
		p, _ := providers.All.Get(name)
		accounts := look.Accounts(name)
		for _, account := range slices.Sorted(maps.Keys(accounts)) {
			at, _ := p.LookUpURL(accounts[account])
			if at == nil || at.Host == "" {
				continue
			}
			err, seen := dialed[at.Host]
			if !seen {
				err = dial(ctx, at)
				dialed[at.Host] = err
			}
			if err != nil {
				found = append(found, Need{stopped, fmt.Sprintf("%s/%s: %s cannot be reached from here (%v): compare base_url, DNS and the way out", name, account, at.Host, err)})
			}
		}
	}
	return found, ""
}

// dial opens a connection to the URL's host and closes it; for https it makes the handshake.
func dial(ctx context.Context, at *url.URL) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	plain := &net.Dialer{}
	open, port := plain.DialContext, "80"
	if at.Scheme == "https" {
		open, port = (&tls.Dialer{NetDialer: plain}).DialContext, "443"
	}
	conn, err := open(ctx, "tcp", net.JoinHostPort(at.Hostname(), cmp.Or(at.Port(), port)))
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "dial tcp "))
	}
	return conn.Close()
}

// chainOf decodes a PEM file of certificates.
func chainOf(text []byte) (chain []*x509.Certificate, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("decode certificate: %w", err)
		}
		chain = append(chain, one)
	}
	if len(chain) == 0 {
		return nil, errors.New("there is no certificate")
	}
	return chain, nil
}
