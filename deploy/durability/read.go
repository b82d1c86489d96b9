package durability

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/subject"
)

// monitorPatience is how long one monitoring address may take to answer.
const monitorPatience = time.Second

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
		Timeout: monitorPatience,
		// Questions are rare and a kept connection would outlive its server.
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Read gathers the facts now. The error says why the broker or the stream
// cannot be seen at all; a server whose monitoring address cannot be seen is
// no error but a fact.
func (r *Reader) Read(ctx context.Context) (Facts, error) {
	nc := r.js.Conn()
	if !nc.IsConnected() {
		return Facts{}, errors.New("the broker is not connected")
	}
	stream, err := r.js.Stream(ctx, subject.Notifications)
	if err != nil {
		return Facts{}, fmt.Errorf("read stream %s: %w", subject.Notifications, err)
	}
	info := stream.CachedInfo()
	if info.Cluster == nil || info.Cluster.Leader == "" {
		return Facts{}, fmt.Errorf("read stream %s: nobody leads it", subject.Notifications)
	}
	c := info.Config
	f := Facts{
		Version: nc.ConnectedServerVersion(), Replicas: c.Replicas, Storage: c.Storage, Persist: c.PersistMode,
		Discard: c.Discard, Retention: c.Retention, MaxAge: Span(c.MaxAge), PerSubject: c.MaxMsgsPerSubject,
		Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: c.MaxBytes,
	}
	f.Servers = r.holders(ctx, nc, info.Cluster)
	f.Sync = weakest(f.Servers)
	return f, nil
}

// holders are the servers that hold the stream, each as its own monitoring
// address shows it, else as it was when it was last seen.
func (r *Reader) holders(ctx context.Context, nc *nats.Conn, cluster *jetstream.ClusterInfo) []Server {
	problem := r.look(ctx, nc)
	all := []Server{r.remembered(cluster.Leader, problem)}
	for _, peer := range cluster.Replicas {
		s := r.remembered(peer.Name, problem)
		s.Offline = peer.Offline
		all = append(all, s)
	}
	return all
}

func (r *Reader) remembered(name string, problem func(string) string) Server {
	s, ok := r.known[name]
	if !ok {
		s = Server{Name: name, Sync: Unseen}
	}
	s.Problem = problem(name)
	return s
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
		Stats *struct {
			Store uint64 `json:"storage"`
		} `json:"stats"`
	} `json:"jetstream"`
}

// look asks every monitoring address at once and remembers what they say. It
// returns what kept a server of a name from being seen, "" for nothing.
func (r *Reader) look(ctx context.Context, nc *nats.Conn) (problem func(name string) string) {
	if len(r.monitors) == 0 {
		return func(string) string { return "nats.monitor_url is not set" }
	}
	answers, problems := make([]varz, len(r.monitors)), make([]error, len(r.monitors))
	var wait sync.WaitGroup
	for i, url := range r.monitors {
		wait.Go(func() { answers[i], problems[i] = r.ask(ctx, url) })
	}
	wait.Wait()
	now := time.Now().UTC()
	seen := map[string]bool{}
	for i, v := range answers {
		switch {
		case problems[i] != nil:
		case v.Name == nc.ConnectedServerName() && v.ID != nc.ConnectedServerId():
			problems[i] = fmt.Errorf("%s shows another server of the name %s than the one that is connected", r.monitors[i], v.Name)
		default:
			seen[v.Name] = true
			r.known[v.Name] = v.server(now)
		}
	}
	// The connected server is known by its id: one that was started again may
	// have another policy.
	if connected := nc.ConnectedServerName(); r.known[connected].id != nc.ConnectedServerId() {
		delete(r.known, connected)
	}
	return func(name string) string {
		if seen[name] {
			return ""
		}
		if err := errors.Join(problems...); err != nil {
			return strings.ReplaceAll(err.Error(), "\n", ", ")
		}
		return "none of the addresses in nats.monitor_url is that of this server"
	}
}

func (v varz) server(now time.Time) Server {
	c := v.JetStream.Config
	s := Server{id: v.ID, Name: v.Name, Version: v.Version, Sync: Lazily, Interval: Span(c.SyncInterval), StoreLimit: c.MaxStore, SeenAt: now}
	if c.SyncAlways {
		s.Sync = Always
	}
	if v.JetStream.Stats != nil {
		s.StoreUsed = v.JetStream.Stats.Store
	}
	return s
}

// ask reads one server's /varz. A server without JetStream, or whose
// JetStream has not started yet, is an error: it shows no policy.
func (r *Reader) ask(ctx context.Context, url string) (varz, error) {
	var v varz
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/varz", http.NoBody)
	if err != nil {
		return v, fmt.Errorf("ask monitoring address: %w", err)
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return v, fmt.Errorf("ask monitoring address: %w", err)
	}
	defer answer.Body.Close() //nolint:errcheck // It was only read.
	if answer.StatusCode != http.StatusOK {
		return v, fmt.Errorf("%s answers with status %d", url, answer.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxVarz)).Decode(&v); err != nil {
		return v, fmt.Errorf("%s does not answer like a monitoring address: %w", url, err)
	}
	if v.JetStream.Config == nil {
		return v, fmt.Errorf("%s shows no jetstream", url)
	}
	return v, nil
}
