package operator

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
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

// neverLookedAt is what this command cannot see.
const neverLookedAt = "whether the roles are ready (their /readyz), their logins at the broker and permissions, " +
	"the clocks of the machines that they run on, and when the providers' credentials end"

func newDoctor(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong or soon will be, and say what to do, the most dangerous first",
		Long: "Look for what is wrong or soon will be, and say what to do, the most dangerous first: the broker and what a 200\n" +
			"survives, streams and consumers against what is declared, fill, lag, circuits, dead letters; of each server of\n" +
			"nats.url its certificate, its clock, and what its user operator may do there against nats.conf of this version;\n" +
			"when the certificates, authorities and credentials end whose files the configuration names; and the addresses\n" +
			"of the providers where this command has their settings. It says what it did not look at, and changes nothing.\n" +
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
	found, notes := endNeeds(cfg, time.Now())
	addresses, note := s.addressNeeds(c.Context())
	found, notes = append(found, addresses...), append(notes, note...)
	err = s.connected(c, func(ctx context.Context, s *session) error {
		servers, note := s.serversNeeds(ctx)
		found, notes = append(found, servers...), append(notes, note...)
		h, err := s.Health(ctx)
		if err != nil {
			return err
		}
		more, err := s.findings(ctx, h)
		found = append(found, more...)
		return err
	})
	if err != nil {
		found = append(found, Need{losing, "the broker does not answer this command (" + err.Error() + "): see that it runs, and compare nats.url and the password"})
	}
	unseen := strings.Join(append(notes, neverLookedAt), "; ")
	byDanger(found)
	lines := []string{line("nothing was found")}
	if len(found) > 0 {
		lines = nil
	}
	for _, one := range found {
		lines = append(lines, row(dangerNames[one.Danger], one.What))
	}
	lines = append(lines, line("not looked at: %s", unseen))
	result := struct {
		Found     []Need `json:"found"`
		NotLooked string `json:"not_looked_at"`
	}{append([]Need{}, found...), unseen}
	if err := s.show(c, result, lines...); err != nil || len(found) == 0 {
		return err
	}
	return errPartly
}

// Findings are what can be seen at the broker, of which h was read, the most dangerous
// first. With an error it returns what was found before.
func (s *Deployment) Findings(ctx context.Context, h Health) ([]Need, error) {
	found, err := s.findings(ctx, h)
	if err != nil {
		return found, err
	}
	clock, err := s.clockNeeds(ctx)
	if state, err := s.js.Conn().TLSConnectionState(); err == nil {
		found = append(found, endOf("the broker's certificate", state.PeerCertificates, time.Now())...)
	}
	found = append(found, clock...)
	byDanger(found)
	return found, err
}

// findings are Findings without what differs between the servers of the broker.
func (s *Deployment) findings(ctx context.Context, h Health) ([]Need, error) {
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
	return found, nil
}

// byDanger sorts findings, the most dangerous first.
func byDanger(found []Need) {
	slices.SortStableFunc(found, func(a, b Need) int { return cmp.Compare(a.Danger, b.Danger) })
}

// clockNeeds compares the clock of the server that leads NOTIFICATIONS with this machine's.
func (s *Deployment) clockNeeds(ctx context.Context) ([]Need, error) {
	began := time.Now()
	stream, err := s.js.Stream(ctx, subject.Notifications)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil // The missing stream is listed.
	}
	if err != nil {
		return nil, fmt.Errorf("read the broker's clock: %w", err)
	}
	return clockOff("the broker", stream.CachedInfo().TimeStamp, began, time.Now()), nil
}

// addressNeeds dials the host of every account's look-ups. notes say why none could be.
func (s *settings) addressNeeds(ctx context.Context) (found []Need, notes []string) {
	var look config.Lookup
	cfg, _, err := s.load(config.RoleLookup)
	if err == nil {
		look, err = cfg.Lookup()
	}
	if err != nil {
		return nil, []string{"the providers' addresses, because the settings of the look-ups are not here"}
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
	return found, nil
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
