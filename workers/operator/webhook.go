package operator

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"arauto/deploy/runtime/config"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
)

// tried is what an adapter reads from a webhook. Personal ids are hashed, as in subjects.
type tried struct {
	Provider string            `json:"provider"`
	Account  string            `json:"account"`
	Refused  *refusedTry       `json:"refused,omitempty"` // If set, the rest is empty.
	Kind     order.Kind        `json:"kind,omitempty"`
	Payment  string            `json:"payment,omitempty"`
	Order    string            `json:"order,omitempty"`        // "" if the webhook names none.
	Word     string            `json:"word,omitempty"`         // The provider's status word, "" for none.
	Status   order.Status      `json:"status,omitempty"`       // The status of the word, where the payload is trusted.
	Unknown  string            `json:"unknown_type,omitempty"` // The type, if it is unknown.
	Fields   map[string]string `json:"fields,omitempty"`       // The other fields that are stored.
	Asked    string            `json:"asked,omitempty"`        // The request of the look-up, without credentials.
	Then     string            `json:"then,omitempty"`         // What happens next, in a sentence.
}

// refusedTry is why the webhook would be refused.
type refusedTry struct {
	Code    int           `json:"code"`
	Rule    provider.Rule `json:"rule"`
	Field   string        `json:"field"` // "" for the body as a whole.
	Problem string        `json:"problem"`
}

// codeInvalid is the gateway's code for a body that Read refuses.
const codeInvalid = 400103

// withheld replaces secrets in the printed request.
const withheld = "SECRET"

// longestTry is the longest webhook that is read, in bytes: the largest limit that the
// gateway can be configured with.
const longestTry = 8 << 20

func newWebhook(s *settings) *cobra.Command {
	group := &cobra.Command{
		Use:   "webhook",
		Short: "Webhooks of providers",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("%s needs a command: try", c.CommandPath())}
		},
	}
	var in scope
	var headers []string
	var query string
	try := &cobra.Command{
		Use:   "try --provider <provider> <file|->",
		Short: "Say what a provider's adapter makes of a webhook's body",
		Long: "Say what a provider's adapter makes of the body in a file, - for the standard input: payment, order, kind, status\n" +
			"word and what the provider would be asked, or the rule and field that refuse it. Nothing is sent, no broker is\n" +
			"needed, and credentials are not checked. Exit code 4: it would be refused.",
		Args: exactlyOne("file"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := in.check(); err != nil {
				return err
			}
			if in.provider == "" {
				return usageError{fmt.Errorf("--provider is missing; write one of %s", strings.Join(providers.All.Names(), ", "))}
			}
			sent, err := headersOf(headers)
			if err != nil {
				return err
			}
			return s.tryWebhook(c, in, provider.Webhook{Method: http.MethodPost, Header: sent, At: time.Now()}, query, args[0])
		},
	}
	in.flags(try)
	try.Flags().Lookup("account").Usage = "look-ups of this `account`, default by default"
	try.Flags().StringArrayVar(&headers, "header", nil, "a `header` that comes with it, as name: value; may be repeated")
	try.Flags().StringVar(&query, "query", "", "the address's `query`, as name=value&name=value, for providers that add one")
	group.AddCommand(try)
	return group
}

// headersOf parses headers of the form "name: value". Its error does not print a header,
// which may be a credential.
func headersOf(lines []string) (provider.HeaderMap, error) {
	headers := provider.HeaderMap{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		if !ok || name == "" {
			return nil, usageError{errors.New("--header is not of the form name: value")}
		}
		headers[name] = append(headers[name], strings.TrimSpace(value))
	}
	return headers, nil
}

func (s *settings) tryWebhook(c *cobra.Command, in scope, w provider.Webhook, query, path string) error {
	cfg, tokens, err := s.load()
	if err != nil {
		return err
	}
	body, err := readWebhook(c.InOrStdin(), path)
	if err != nil {
		return err
	}
	p, _ := providers.All.Get(in.provider) // Known, since scope.check returned nil.
	w.Body, w.Query = body, p.Parameters(query)
	all := try(cfg, tokens, p, firstOf(in.account, "default"), w)
	for _, t := range all {
		write := t.write
		if s.output == jsonOutput {
			write = func(w io.Writer) error { return writeJSON(w, t) }
		}
		if err := write(c.OutOrStdout()); err != nil {
			return err
		}
	}
	if all[0].Refused != nil {
		return errPartly
	}
	return nil
}

// readWebhook reads a body.
func readWebhook(stdin io.Reader, path string) ([]byte, error) {
	from := stdin
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read webhook: %w", err)
		}
		defer file.Close() //nolint:errcheck // The file was only read.
		from = file
	}
	body, err := io.ReadAll(io.LimitReader(from, longestTry+1))
	if err != nil {
		return nil, fmt.Errorf("read webhook: %w", err)
	}
	if len(body) > longestTry {
		return nil, fmt.Errorf("read webhook: it has more than %d bytes, which no gateway takes", longestTry)
	}
	return body, nil
}

// try calls the adapter. There is one result for each notice, or for the refusal.
func try(cfg *config.Config, tokens subject.Tokens, p provider.Provider, account string, w provider.Webhook) []tried {
	notices, err := p.Notices(w)
	if err != nil {
		why := provider.RefusalOf(err)
		return []tried{{Provider: p.Name, Account: account, Refused: &refusedTry{
			Code: codeInvalid, Rule: why.Rule, Field: why.Field, Problem: err.Error(),
		}}}
	}
	all := make([]tried, len(notices))
	for i, n := range notices {
		all[i] = tryNotice(cfg, tokens, p, account, n)
	}
	return all
}

func tryNotice(cfg *config.Config, tokens subject.Tokens, p provider.Provider, account string, notice provider.Notice) tried {
	t := tried{Provider: p.Name, Account: account}
	fields := map[string]string{}
	for name, value := range notice.Fields {
		fields[name] = tokens.Shown(value)
	}
	t.Kind, t.Payment, t.Order = notice.Kind, tokens.Shown(notice.Payment), notice.Order
	t.Word, t.Unknown, t.Fields = fields["status"], notice.Unknown, fields
	if t.Order != "" {
		t.Order = tokens.Shown(t.Order)
	}
	target := provider.Target{Kind: notice.Kind, Payment: t.Payment, Order: t.Order, Fields: fields}
	settings, configured := cfg.PlainSettings(p.Name, account, withheld)
	t.follow(p, target, provider.Account{Name: account, Settings: settings})
	if !configured && t.Unknown == "" {
		t.Then += "; account " + account + " is not in this configuration, so that the gateway refuses its webhooks"
	}
	return t
}

// follow says what happens after a webhook was read.
func (t *tried) follow(p provider.Provider, target provider.Target, account provider.Account) {
	if t.Unknown != "" {
		t.Then = "it is stored, and becomes a dead letter of class data: its type is unknown"
		return
	}
	err := provider.ErrNoLookUp
	if p.Ask != nil {
		var q provider.Question
		if q, err = p.Ask(target, account); err == nil {
			t.Asked, t.Then = q.Method+" "+q.URL, "the provider is asked, and only its answer counts"
			return
		}
	}
	switch {
	case !errors.Is(err, provider.ErrNoLookUp):
		t.Then = "it is stored, and the provider cannot be asked: " + err.Error()
	case p.Payload == nil:
		t.Then = "it is stored, and becomes a dead letter: the account has no look-up"
	default:
		fact, err := p.Payload(target)
		t.Status, t.Then = fact.Status, "its payload is trusted, with confirmed: false, because the account has no look-up"
		if err != nil {
			t.Then = "it is stored, and becomes a dead letter: " + err.Error()
		}
	}
}

func (t tried) write(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			_, _ = fmt.Fprint(table, row(name, value)) // Flush returns the error.
		}
	}
	line("provider", t.Provider+", account "+t.Account)
	if r := t.Refused; r != nil {
		line("refused", fmt.Sprintf("with code %d", r.Code))
		line("rule", string(r.Rule))
		line("field", firstOf(r.Field, "-"))
		line("problem", r.Problem)
	} else {
		line("kind", string(t.Kind))
		line("payment", t.Payment)
		line("order", firstOf(t.Order, "-"))
		line("type", t.Unknown)
		line("word", firstOf(t.Word, "-"))
		line("status", string(t.Status))
		for _, name := range slices.Sorted(maps.Keys(t.Fields)) {
			line("field "+name, t.Fields[name])
		}
		line("asked", t.Asked)
		line("then", t.Then)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}
