package durability

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// writeError is the beginning of the text of nats-server 2.15.3 (server/monitor.go,
// healthz) about a store's error that lasts until a restart. Other causes of an unhealthy
// server, such as a replica that catches up, end without a restart. Before the text may go,
// check that healthz distinguishes write errors by a field.
const writeError = "write error: "

// failures reads a server's /healthz. It reports false where that cannot be read.
func (r *Reader) failures(ctx context.Context, url string) ([]Failure, bool) {
	var health struct {
		Errors []struct {
			Stream   string `json:"stream"`
			Consumer string `json:"consumer"`
			Error    string `json:"error"`
		} `json:"errors"`
	}
	status, err := r.get(ctx, url, "/healthz?details=true", &health)
	if err != nil || status != http.StatusOK && len(health.Errors) == 0 {
		return nil, false
	}
	var all []Failure
	for _, e := range health.Errors {
		_, cause, ok := strings.Cut(e.Error, writeError)
		if !ok {
			continue
		}
		name := e.Stream
		if e.Consumer != "" {
			name += " > " + e.Consumer
		}
		all = append(all, Failure{Name: name, Error: cause})
	}
	return all, true
}

// forget drops what was read of a server that was restarted while its own monitoring
// address is silent: its sync policy may have changed. The other servers know its present
// id by their routes. A server that was offline, and whose id no other server reports, is
// forgotten too.
func (r *Reader) forget(ctx context.Context, connected string, names []string, gone map[string]bool, seen map[string]string, l look) {
	ids := sync.OnceValue(func() map[string][]string { return r.routed(ctx, seen, l) })
	for _, name := range names {
		s, known := r.known[name]
		if !known || seen[name] != "" || name == connected { // The connection itself tells the id of its server.
			continue
		}
		if gone[name] {
			s.away = true
		} else {
			told := ids()[name]
			if slices.ContainsFunc(told, func(id string) bool { return id != s.id }) || len(told) == 0 && s.away {
				delete(r.known, name)
				continue
			}
			s.away = false
		}
		r.known[name] = s
	}
}

// routed are the ids of each server that those seen have a route to, by name. They
// differ for a moment after a restart, until the old route is noticed to be dead.
func (r *Reader) routed(ctx context.Context, seen map[string]string, l look) map[string][]string {
	type routez struct {
		Routes []struct {
			ID   string `json:"remote_id"`
			Name string `json:"remote_name"`
		} `json:"routes"`
	}
	ctx, cancel := context.WithTimeout(ctx, l.left)
	defer cancel()
	ids := map[string][]string{}
	for _, answer := range each(slices.Collect(maps.Values(seen)), func(url string) (z routez) {
		_, _ = r.get(ctx, url, "/routez", &z) // A server that cannot be read reports no routes.
		return z
	}) {
		for _, route := range answer.Routes {
			ids[route.Name] = append(ids[route.Name], route.ID)
		}
	}
	return ids
}

// each asks all addresses at once.
func each[T any](urls []string, ask func(url string) T) []T {
	answers := make([]T, len(urls))
	var all sync.WaitGroup
	for i, url := range urls {
		all.Go(func() { answers[i] = ask(url) })
	}
	all.Wait()
	return answers
}
