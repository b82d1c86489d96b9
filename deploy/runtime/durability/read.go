package durability

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/subject"
)

// monitorTimeout is how long one monitoring address may take to answer.
const monitorTimeout = time.Second

// maxVarz bounds what is read of a monitoring address, in bytes.
const maxVarz = 1 << 20

// Reader gathers the facts. It remembers each server, so that one whose
// monitoring address is away for a while keeps the policy that was seen. It
// serves one caller at a time.
type Reader struct {
	js       jetstream.JetStream
	monitors []string
	client   *http.Client
	known    map[string]Server
}

// NewReader reads through js, which needs to be allowed STREAM.INFO of
// NOTIFICATIONS, and from the monitoring addresses, such as
// http://nats-1:8222. Without any the sync policy stays unknown.
func NewReader(js jetstream.JetStream, monitors []string) *Reader {
	return &Reader{js: js, monitors: monitors, known: map[string]Server{}, client: &http.Client{
		Timeout: monitorTimeout,
		// Requests are rare, and a kept connection would outlive its server.
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Read gathers the facts now. The error says why the broker or the stream
// cannot be seen at all; a server whose monitoring address cannot be seen is
// no error but a fact.
func (r *Reader) Read(ctx context.Context) (Facts, error) {
	info, err := r.stream(ctx)
	if err != nil {
		return Facts{}, err
	}
	return r.facts(ctx, info, look{left: monitorTimeout, health: true}), nil
}

// ReadSoon is Read while webhooks wait for it. The stream gets a bounded time to answer: a
// stream whose leader is about to change never answers, and the next reading finds the new
// leader. Once the connected server and all that hold the stream are known, the other
// monitoring addresses get 50 ms more: one may be of a host that is down.
func (r *Reader) ReadSoon(ctx context.Context, stream time.Duration) (Facts, error) {
	hasty, cancel := context.WithTimeout(ctx, stream)
	defer cancel()
	info, err := r.stream(hasty)
	if err != nil {
		return Facts{}, err
	}
	return r.facts(ctx, info, look{left: stragglers}), nil
}

// look is what is read of the monitoring addresses.
type look struct {
	left   time.Duration // For the others once the connected server and all holders are known.
	health bool          // Also whether a server has a write error.
}

// stragglers is the time that the other addresses have once enough is known. A guess.
const stragglers = 50 * time.Millisecond

func (r *Reader) stream(ctx context.Context) (*jetstream.StreamInfo, error) {
	if !r.js.Conn().IsConnected() {
		return nil, errors.New("the broker is not connected")
	}
	stream, err := r.js.Stream(ctx, subject.Notifications)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", subject.Notifications, err)
	}
	info := stream.CachedInfo()
	if info.Cluster == nil || info.Cluster.Leader == "" {
		return nil, fmt.Errorf("read stream %s: nobody leads it", subject.Notifications)
	}
	return info, nil
}

// facts are what the stream says and what its servers show.
func (r *Reader) facts(ctx context.Context, info *jetstream.StreamInfo, l look) Facts {
	nc, c := r.js.Conn(), info.Config
	f := Facts{
		Version: nc.ConnectedServerVersion(), Replicas: c.Replicas, Storage: c.Storage, Persist: c.PersistMode,
		Discard: c.Discard, Retention: c.Retention, MaxAge: Span(c.MaxAge), PerSubject: c.MaxMsgsPerSubject,
		Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: c.MaxBytes,
	}
	f.Servers = r.holders(ctx, nc, info, l)
	f.Sync = weakest(f.Servers)
	connected := nc.ConnectedServerName()
	f.elsewhere = slices.ContainsFunc(f.Servers, func(s Server) bool { return s.Name != connected })
	return f
}

// holders are the servers that hold the stream, each as its own monitoring
// address shows it, else as it was when it was last seen.
func (r *Reader) holders(ctx context.Context, nc *nats.Conn, info *jetstream.StreamInfo, l look) []Server {
	cluster := info.Cluster
	var led time.Duration
	if cluster.LeaderSince != nil {
		led = info.TimeStamp.Sub(*cluster.LeaderSince)
	}
	names, gone := []string{cluster.Leader}, map[string]bool{}
	for _, peer := range cluster.Replicas {
		names, gone[peer.Name] = append(names, peer.Name), away(peer, led)
	}
	seen, problem := r.look(ctx, nc, names, l)
	r.forget(ctx, nc.ConnectedServerName(), names, gone, seen, l)
	all := make([]Server, len(names))
	for i, name := range names {
		s, known := r.known[name]
		if !known {
			s = Server{Name: name, Sync: Unseen}
		}
		if s.Offline = gone[name]; seen[name] == "" {
			s.Problem = problem
		}
		all[i] = s
	}
	return all
}

// silence is how long a server may be without activity before it counts as confirming
// nothing. The leader hears of each server about once a second.
const silence = 5 * time.Second

// away reports whether a server confirms nothing now. nats-server 2.15.3 (server/events.go,
// checkRemoteServers) marks a crashed server as offline only minutes later, and a gateway
// that starts meanwhile must not be refused because of it. Before this may go, check that
// it does so within silence. A leader reports no time of activity for a server that it has
// never heard from: usually the former leader.
func away(peer *jetstream.PeerInfo, led time.Duration) bool {
	unheard := !peer.Current && peer.Active == 0 && led > silence
	return peer.Offline || peer.Active > silence || unheard
}

// varz is what we need of a server's /varz.
type varz struct {
	ID        string `json:"server_id"`
	Name      string `json:"server_name"`
	Version   string `json:"version"`
	JetStream struct {
		Config *struct {
			MaxStore     int64         `json:"max_storage"`
			SyncInterval time.Duration `json:"sync_interval"`
			SyncAlways   bool          `json:"sync_always"`
		} `json:"config"`
		Stats struct {
			Store uint64 `json:"storage"`
		} `json:"stats"`
	} `json:"jetstream"`
}

// look asks every monitoring address at once and remembers what they say. It
// returns the addresses of the servers that were seen, by name, and what kept the
// others from being seen.
func (r *Reader) look(ctx context.Context, nc *nats.Conn, holders []string, l look) (seen map[string]string, problem string) {
	seen = map[string]string{}
	if len(r.monitors) == 0 {
		return seen, "nats.monitor_url is not set"
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	connected, id := nc.ConnectedServerName(), nc.ConnectedServerId()
	if r.known[connected].id != id { // It was started again, and may have another policy.
		delete(r.known, connected)
	}
	type answer struct {
		from   int
		server Server
		error  error
	}
	answers, problems := make(chan answer, len(r.monitors)), make([]error, len(r.monitors))
	for i, url := range r.monitors {
		problems[i] = fmt.Errorf("%s has not answered so far", url)
		go func() {
			s, err := r.ask(ctx, url, l.health)
			answers <- answer{i, s, err}
		}()
	}
	var enough <-chan time.Time
	for waiting := len(r.monitors); waiting > 0; waiting-- {
		select {
		case a := <-answers:
			problems[a.from] = a.error
			switch {
			case a.error != nil:
			case a.server.Name == connected && a.server.id != id:
				problems[a.from] = fmt.Errorf("%s shows another server of the name %s than the one that is connected", r.monitors[a.from], connected)
			default:
				seen[a.server.Name] = r.monitors[a.from]
				r.remember(a.server)
			}
		case <-enough:
			waiting = 0
		}
		if enough == nil && seen[connected] != "" && !slices.ContainsFunc(holders, r.unknown) {
			enough = time.After(l.left)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return seen, strings.ReplaceAll(err.Error(), "\n", ", ")
	}
	return seen, "none of the addresses in nats.monitor_url is that of this server"
}

// remember keeps what a server shows. A write error lasts as long as the process of
// the server, so it stays where its health was not asked for or not told.
func (r *Reader) remember(s Server) {
	if before := r.known[s.Name]; !s.checked && before.id == s.id {
		s.Failed = before.Failed
	}
	r.known[s.Name] = s
}

func (r *Reader) unknown(name string) bool {
	_, known := r.known[name]
	return !known
}

// ask reads one server's /varz, and where health is true its /healthz. A server
// without JetStream, or whose JetStream has not started yet, is an error: it shows
// no policy.
func (r *Reader) ask(ctx context.Context, url string, health bool) (Server, error) { //nolint:revive // The two answers are one reading.
	var v varz
	status, err := r.get(ctx, url, "/varz", &v)
	if err != nil {
		return Server{}, err
	}
	if status != http.StatusOK {
		return Server{}, fmt.Errorf("%s answers with status %d", url, status)
	}
	c := v.JetStream.Config
	if c == nil {
		return Server{}, fmt.Errorf("%s shows no jetstream", url)
	}
	s := Server{
		id: v.ID, Name: v.Name, Version: v.Version, Sync: Lazily, Interval: Span(c.SyncInterval),
		StoreUsed: v.JetStream.Stats.Store, StoreLimit: c.MaxStore, SeenAt: time.Now().UTC(),
	}
	if c.SyncAlways {
		s.Sync = Always
	}
	if health {
		s.Failed, s.checked = r.failures(ctx, url)
	}
	return s, nil
}

// get reads a document of a monitoring address, whatever the status.
func (r *Reader) get(ctx context.Context, url, path string, into any) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+path, http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("ask monitoring address: %w", err)
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("ask monitoring address: %w", err)
	}
	defer answer.Body.Close() //nolint:errcheck // Close cannot lose data: the body was only read.
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxVarz)).Decode(into); err != nil && answer.StatusCode == http.StatusOK {
		return 0, fmt.Errorf("%s does not answer like a monitoring address: %w", url, err)
	}
	return answer.StatusCode, nil
}
