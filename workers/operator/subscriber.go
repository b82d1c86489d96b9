package operator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/bcrypt"

	"arauto/deploy/runtime/topology"
	"arauto/schemas/subject"
)

func newSubscriber(s *settings) *cobra.Command {
	return newGroup("subscriber", "Services that subscribe to order events and outcomes", newSubscriberAdd(s), newSubscriberList(s), newSubscriberRemove(s))
}

// subscriberName is a consumer, an account and a user at the broker, and the stage of dead
// letters.
var subscriberName = regexp.MustCompile(`^[a-z][a-z-]{0,31}$`)

// brokerUsers are the users of nats.conf, which no subscriber may be named like.
var brokerUsers = []string{
	"gateway", "lookup", "normalize", "sweep", "topology", "operator", "breakglass", "viewer", "auditor", "expect", "console", "announcer", "forget", "monitor", "backup",
}

// oneSubscriber accepts one name of a service.
func oneSubscriber(c *cobra.Command, args []string) error {
	if err := exactlyOne("name of a service")(c, args); err != nil {
		return err
	}
	switch {
	case !subscriberName.MatchString(args[0]):
		return usageError{errors.New("a name of a service is 1 to 32 of a-z and -, the first of them a letter")}
	case slices.Contains(brokerUsers, args[0]):
		return usageError{fmt.Errorf("%s is the name of a user of Arauto's own; write another", args[0])}
	}
	return nil
}

// How the broker reads its configuration again. A new account needs it twice: in the first
// reload nats-server 2.15.3 makes the account, but connects none of its imports
// (configureAccounts of server/server.go, "only if not reloading").
const (
	reload      = "nats-server --signal reload"
	reloadTwice = reload + ", and once again: the first time the account is made, the second time its imports are connected"
)

// The values of --from beside a time.
const (
	fromAll = "all"
	fromNow = "now"
)

// feed is a stream that services subscribe to.
type feed struct {
	stream  string
	form    string // Of its subjects.
	example string // Filters, for who writes a wrong one.
}

// feeds are the values of --stream.
var feeds = map[string]feed{
	"orders":   {subject.Orders, "orders.*.*.*.*.*", "orders.picpay.> or orders.*.*.*.*.paid"},
	"outcomes": {subject.Outcomes, "expectations.*.*.*.*", "expectations.picpay.> or expectations.*.*.*.never_paid"},
}

var feedNames = slices.Sorted(maps.Keys(feeds))

// subscribing is what subscriber add is to make.
type subscribing struct {
	name, from, file string
	filters          []string
	feed             string // The key in feeds.
}

func (in subscribing) stream() string { return feeds[in.feed].stream }

func newSubscriberAdd(s *settings) *cobra.Command {
	var in subscribing
	c := &cobra.Command{
		Use:   "add <name>",
		Short: "Make a service's consumer, and print its account at the broker",
		Long: "Make the durable consumer of a service, on ORDERS or with --stream outcomes on OUTCOMES, and print the account\n" +
			"that the service needs at the broker, with a new password that is shown only here. --file writes the account into the file subscribers.conf of the\n" +
			"broker, which then reads it without a restart.\n" +
			"For a service that has its consumer already, the consumer stays as it is and the account gets a new password.",
		Args: oneSubscriber,
		PreRunE: func(*cobra.Command, []string) error {
			return in.check()
		},
		RunE: func(c *cobra.Command, args []string) error {
			in.name = args[0]
			return s.changing(c, func(ctx context.Context, s *session) error { return s.addSubscriber(ctx, in) })
		},
	}
	c.Flags().StringVar(&in.feed, "stream", "orders", "what it reads, a `stream`: orders, or outcomes of expected payments")
	c.Flags().StringVar(&in.from, "from", fromAll, "the first event: all, now, or a `time` such as 2026-01-31T00:00:00Z")
	c.Flags().StringSliceVar(&in.filters, "filter", nil, "only events on these `subjects`, such as orders.picpay.>")
	c.Flags().StringVar(&in.file, "file", "", "write the account into this `file` of the broker's configuration too")
	return c
}

func (in subscribing) check() error {
	if _, err := in.start(); err != nil {
		return err
	}
	of, ok := feeds[in.feed]
	if !ok {
		return usageError{fmt.Errorf("--stream is not one of %s", strings.Join(feedNames, ", "))}
	}
	form := strings.Split(of.form, ".")
	for _, f := range in.filters {
		tokens := strings.Split(f, ".")
		if tokens[0] != form[0] || len(tokens) < 2 || len(tokens) > len(form) || slices.Contains(tokens, "") || strings.ContainsAny(f, " \t\r\n") ||
			slices.Contains(tokens[:len(tokens)-1], ">") || len(tokens) < len(form) && tokens[len(tokens)-1] != ">" {
			return usageError{fmt.Errorf("--filter %q matches nothing of %s; write such as %s", f, of.stream, of.example)}
		}
	}
	return nil
}

// start is the time of --from, zero for all and for now.
func (in subscribing) start() (time.Time, error) {
	if in.from == fromAll || in.from == fromNow {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, in.from)
	if err != nil {
		return at, usageError{errors.New("--from is neither all nor now nor a time such as 2026-01-31T00:00:00Z")}
	}
	return at, nil
}

// subscriberAdded is the result of subscriber add.
type subscriberAdded struct {
	Name     string   `json:"name"`
	Stream   string   `json:"stream"`
	Consumer string   `json:"consumer"`
	Made     bool     `json:"made"` // False: the consumer was there already.
	Filters  []string `json:"filters"`
	From     string   `json:"from"`
	User     string   `json:"user"`
	Password string   `json:"password"`
	Inbox    string   `json:"inbox_prefix"`
	Account  string   `json:"account"` // For the broker's subscribers.conf.
	File     string   `json:"file,omitempty"`
	Next     string   `json:"next"`
}

func (s *session) addSubscriber(ctx context.Context, in subscribing) error {
	config, err := s.subscriberConfig(ctx, in)
	if err != nil {
		return err
	}
	made, err := s.missing(ctx, in)
	if err != nil {
		return fmt.Errorf("consumer %s: %w", in.name, err)
	}
	password, hash, err := newPassword()
	if err != nil {
		return err
	}
	if err := s.audit(ctx, verbSubscriberAdd, subject.Unit{}, "", "make consumer "+in.name+" of "+in.stream()+", with a new password"); err != nil {
		return err
	}
	if made {
		if _, err := s.streams[in.stream()].CreateConsumer(ctx, config); err != nil {
			return fmt.Errorf("make consumer %s: %w", in.name, err)
		}
	}
	result := subscriberAdded{
		Name: in.name, Stream: in.stream(), Consumer: in.name, Made: made, Filters: append([]string{}, in.filters...), From: in.from,
		User: in.name, Password: password, Inbox: "_INBOX_" + in.name, Account: SubscriberAccount(in.name, in.stream(), hash), File: in.file,
		Next: "put the account into subscribers.conf beside the broker's nats.conf, then " + reloadTwice,
	}
	if in.file != "" {
		if err := writeAccount(in.file, in.name, result.Account); err != nil {
			return err
		}
		result.Next = reloadTwice
	}
	lines := []string{line("consumer %s of %s: %s", in.name, in.stream(), map[bool]string{true: "made", false: "was there"}[made])}
	for row := range strings.Lines(result.Account) {
		lines = append(lines, line("%s", strings.TrimSuffix(row, "\n")))
	}
	lines = append(lines, line("user %s, inbox prefix %s", result.User, result.Inbox), line("password %s (it is not shown again)", password), line("next: %s", result.Next))
	return s.show(s.command, result, lines...)
}

// subscriberConfig is the consumer that add makes. It begins at a sequence rather than at
// "new", so that what is stored meanwhile is delivered, and so that the service can reset it.
func (s *session) subscriberConfig(ctx context.Context, in subscribing) (jetstream.ConsumerConfig, error) {
	config := topology.Subscriber(in.name, in.filters...)
	at, err := in.start()
	switch {
	case err != nil:
		return config, err
	case in.from == fromNow:
		info, err := s.streams[in.stream()].Info(ctx)
		if err != nil {
			return config, fmt.Errorf("read stream %s: %w", in.stream(), err)
		}
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, info.State.LastSeq+1
	case !at.IsZero():
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &at
	}
	return config, nil
}

// subscribed finds the consumer of a service. The error is jetstream.ErrConsumerNotFound if it
// has none.
func (s *session) subscribed(ctx context.Context, name string) (consumer *jetstream.ConsumerInfo, err error) {
	for _, of := range feedNames {
		have, err := s.streams[feeds[of].stream].Consumer(ctx, name)
		if err == nil {
			return have.CachedInfo(), nil
		}
		if !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil, err
		}
	}
	return nil, jetstream.ErrConsumerNotFound
}

// missing reports whether the consumer is still to be made. A present one must be of the
// stream and deliver what is asked for; where it begins was decided when it was made.
func (s *session) missing(ctx context.Context, in subscribing) (bool, error) {
	have, err := s.subscribed(ctx, in.name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if have.Stream != in.stream() { // The account is named like the consumer, and has the rights for one stream.
		return false, usageError{fmt.Errorf("the service reads %s; write another name for %s", have.Stream, in.stream())}
	}
	if filters := filtersOf(have.Config); !slices.Equal(filters, in.filters) && len(filters)+len(in.filters) > 0 {
		return false, usageError{fmt.Errorf("it is there with the filters %q; write the same, or remove it first", filters)}
	}
	if s.command.Flags().Changed("from") {
		return false, usageError{errors.New("it is there, so --from would change nothing; leave it out for a new password, or remove it first")}
	}
	return false, nil
}

func filtersOf(c jetstream.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return append([]string{}, c.FilterSubjects...)
}

// newPassword makes a password of 24 random bytes in the form that the broker's configuration
// takes, and its hash. The hash is the cheapest that bcrypt has: so many random bytes cannot be
// guessed anyway, and the broker computes it for each connection, in time that webhooks need.
func newPassword() (password, hash string, err error) {
	raw := make([]byte, 24)
	if _, err := rand.Read(raw); err != nil {
		return "", "", fmt.Errorf("make password: %w", err)
	}
	password = "p" + hex.EncodeToString(raw)
	hashed, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return "", "", fmt.Errorf("hash password: %w", err)
	}
	return password, string(hashed), nil
}

// subscriberListed is one service in the result of subscriber list.
type subscriberListed struct {
	Name           string     `json:"name"`
	Stream         string     `json:"stream"`
	Filters        []string   `json:"filters"`
	Lag            uint64     `json:"lag"`            // Events that were not delivered yet.
	Unacknowledged int        `json:"unacknowledged"` // Events that were delivered and not acked.
	AckFloor       uint64     `json:"ack_floor"`      // Sequence on the stream up to which every event is acked.
	LastAck        *time.Time `json:"last_ack"`       // null for never.
	Pulls          int        `json:"waiting_pulls"`  // 0 for a service that does not run.
}

func listed(info *jetstream.ConsumerInfo) subscriberListed {
	return subscriberListed{
		Name: info.Name, Stream: info.Stream, Filters: filtersOf(info.Config), Lag: info.NumPending, Unacknowledged: info.NumAckPending,
		AckFloor: info.AckFloor.Stream, LastAck: info.AckFloor.Last, Pulls: info.NumWaiting,
	}
}

func newSubscriberList(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the services' consumers, with their lag and last ack",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.inSession(c, func(ctx context.Context, s *session) error {
				list := []subscriberListed{}
				for _, of := range feeds {
					consumers := s.streams[of.stream].ListConsumers(ctx)
					for info := range consumers.Info() {
						if !slices.Contains(brokerUsers, info.Name) { // Else a role of Arauto has it.
							list = append(list, listed(info))
						}
					}
					if err := consumers.Err(); err != nil {
						return fmt.Errorf("list consumers of %s: %w", of.stream, err)
					}
				}
				slices.SortFunc(list, func(a, b subscriberListed) int { return strings.Compare(a.Name, b.Name) })
				lines := []string{row("NAME", "STREAM", "LAG", "UNACKED", "LAST ACK", "FILTERS")}
				for _, one := range list {
					lines = append(lines, row(one.Name, one.Stream, fmt.Sprint(one.Lag), fmt.Sprint(one.Unacknowledged), lastAck(one), strings.Join(one.Filters, " ")))
				}
				if len(list) == 0 {
					lines = []string{line("no service subscribes")}
				}
				return s.show(s.command, list, lines...)
			})
		},
	}
}

func lastAck(one subscriberListed) string {
	if one.LastAck == nil {
		return "never"
	}
	return one.LastAck.UTC().Format(time.RFC3339)
}

// removing is what subscriber remove is to delete.
type removing struct {
	name, file string
	dry        bool
}

// subscriberRemoved is the result of subscriber remove.
type subscriberRemoved struct {
	subscriberListed
	DryRun bool   `json:"dry_run"`
	File   string `json:"file,omitempty"`
	Next   string `json:"next"`
}

func newSubscriberRemove(s *settings) *cobra.Command {
	var in removing
	c := &cobra.Command{
		Use:   "remove <name>",
		Short: "Delete a service's consumer, and say what it had not acknowledged",
		Long: "Delete the consumer of a service, and say what it had not acknowledged. --file removes its account from the\n" +
			"broker's file subscribers.conf too; until the broker has read that, the service can still read the stream.",
		Args: oneSubscriber,
		RunE: func(c *cobra.Command, args []string) error {
			in.name = args[0]
			remove := func(ctx context.Context, s *session) error { return s.removeSubscriber(ctx, in) }
			if in.dry {
				return s.inSession(c, remove)
			}
			return s.changing(c, remove)
		},
	}
	c.Flags().BoolVar(&in.dry, "dry-run", false, "say it, but delete nothing")
	c.Flags().StringVar(&in.file, "file", "", "remove the account from this `file` of the broker's configuration too")
	return c
}

func (s *session) removeSubscriber(ctx context.Context, in removing) error {
	consumer, err := s.subscribed(ctx, in.name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) && in.file != "" && !in.dry {
		return s.removeAccount(ctx, in, err)
	}
	if err != nil {
		return fmt.Errorf("read consumer %s: %w", in.name, err)
	}
	result := subscriberRemoved{
		subscriberListed: listed(consumer), DryRun: in.dry, File: in.file,
		Next: "remove the account from subscribers.conf beside the broker's nats.conf, then " + reload,
	}
	left := line("consumer %s: %d events were not delivered, %d were delivered and not acked; acked up to sequence %d, last ack %s",
		in.name, result.Lag, result.Unacknowledged, result.AckFloor, lastAck(result.subscriberListed))
	if in.dry {
		return s.show(s.command, result, left, line("nothing was deleted"))
	}
	what := fmt.Sprintf("delete consumer %s of %s, which is acked up to %d, with %d events not delivered and %d not acked",
		in.name, consumer.Stream, result.AckFloor, result.Lag, result.Unacknowledged)
	if err := s.audit(ctx, verbSubscriberRemove, subject.Unit{}, "", what); err != nil {
		return err
	}
	if err := s.streams[consumer.Stream].DeleteConsumer(ctx, in.name); err != nil {
		return fmt.Errorf("delete consumer %s: %w", in.name, err)
	}
	if in.file != "" {
		if err := writeAccount(in.file, in.name, ""); err != nil {
			return err
		}
		result.Next = reload
	}
	return s.show(s.command, result, left, line("deleted; next: %s", result.Next))
}

// removeAccount removes the account of a service whose consumer is gone: until then the
// service can still read the stream. missing is returned if there is no account either.
func (s *session) removeAccount(ctx context.Context, in removing, missing error) error {
	text, err := os.ReadFile(in.file)
	if err != nil || !strings.Contains(string(text), accountBegins+in.name+"\n") {
		return errors.Join(fmt.Errorf("read consumer %s: %w", in.name, missing), err)
	}
	if err := s.audit(ctx, verbSubscriberRemove, subject.Unit{}, "", "remove the account of "+in.name+", whose consumer is gone"); err != nil {
		return err
	}
	if err := writeAccount(in.file, in.name, ""); err != nil {
		return err
	}
	result := subscriberRemoved{subscriberListed: subscriberListed{Name: in.name, Filters: []string{}}, File: in.file, Next: reload}
	return s.show(s.command, result, line("consumer %s was gone; its account is removed; next: %s", in.name, reload))
}
