package config

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"arauto/deploy/runtime/durability"
)

// check returns the problems that concern every role, whichever starts.
func (c *Config) check() Problems {
	f := &c.file
	k := &checks{config: c}
	if f.Profile != profileProduction && f.Profile != profileLocal {
		k.refuse("profile", k.quoted("profile", f.Profile)+" is not a profile; write production or local")
	}
	k.checkTimeScale(f.TimeScale)
	k.checkSecret(f.HashKey)
	k.checkSecret(f.NATS.Password)
	k.checkNATS(f.NATS)
	if !slices.Contains([]int{1, 3, 5}, f.Topology.Replicas) {
		k.refuse("topology.replicas", strconv.Itoa(f.Topology.Replicas)+" is not a number of replicas; write 1 without a cluster, else 3 or 5")
	}
	k.wrong("topology.store", between(f.Topology.Store, 64*mib, 1<<20*gib))
	k.checkGateway(f.Gateway)
	k.checkPlaintext(f.NATS, f.Gateway)
	k.address("lookup.admin", f.Lookup.Admin)
	k.wrong("lookup.concurrency", between(f.Lookup.Concurrency, 1, 4096))
	k.wrong("lookup.ask_timeout", between(f.Lookup.AskTimeout, 10*time.Millisecond, 5*time.Minute))
	k.wrong("lookup.answer_limit", between(f.Lookup.AnswerLimit, kib, 64*mib))
	k.checkRateLimit("lookup.rate_limit", rateLimitPart(f.Lookup.Default))
	for i, name := range f.Lookup.Providers {
		if _, ok := c.providers.Get(name); !ok {
			at := "lookup.providers[" + strconv.Itoa(i) + "]"
			k.refuse(at, k.quoted(at, name)+" is not a provider; "+k.instead(at, name, c.providers.Names()))
		}
	}
	k.address("normalize.admin", f.Normalize.Admin)
	k.wrong("normalize.concurrency", between(f.Normalize.Concurrency, 1, 4096))
	k.address("sweep.admin", f.Sweep.Admin)
	k.wrong("sweep.every", between(f.Sweep.Every, 100*time.Millisecond, time.Hour))
	k.wrong("sweep.horizon", between(f.Sweep.Horizon, time.Hour, 10*365*day))
	if text := between(f.Sweep.KeepNotifications, time.Minute, longestKept); text != "" {
		k.refuse("sweep.keep_notifications", text+": observations are kept for 30 days, and without its own a finished notification looks as if nobody had asked")
	}
	k.wrong("sweep.compact_after", between(f.Sweep.CompactAfter, time.Hour, 10*365*day))
	k.checkProviders()
	return k.problems
}

// longestScale turns 72 hours into a quarter of a second. The broker fires
// schedules no more often than that, so more would only be noise.
const longestScale = 1_000_000

// checkTimeScale keeps the clock that tests turn out of production, where it
// would give payments up for dead within seconds of an outage.
func (k *checks) checkTimeScale(scale int) {
	if scale != 1 && !k.config.Local() {
		k.refuse("time_scale", "turns days of retries into seconds and is for tests; remove it, or write profile: local where no real payment is")
		return
	}
	k.wrong("time_scale", between(scale, 1, longestScale))
}

// longestKept leaves sweep a day to remove a finished notification before its
// observation expires, which STATUSES keeps for 30.
const longestKept = 29 * day

// checks collects problems by the path of their key.
type checks struct {
	config   *Config
	problems Problems
}

// refuse reports a problem at the key, or at the nearest key above it that is
// present.
func (k *checks) refuse(path, text string) {
	k.problems = append(k.problems, Problem{File: k.config.name, Line: k.config.line(path), Text: path + ": " + text})
}

// wrong is refuse unless there is nothing to say.
func (k *checks) wrong(path, text string) {
	if text != "" {
		k.refuse(path, text)
	}
}

// quoted shows the value of a key, unless it comes from the environment, where
// the wrong variable may hold a secret.
func (k *checks) quoted(path, value string) string {
	if variable, ok := k.config.origins[path]; ok {
		return "the value of " + variable
	}
	return shown(value)
}

// instead advises on a value that is not one of the known.
func (k *checks) instead(path, value string, known []string) string {
	if _, ok := k.config.origins[path]; ok {
		value = ""
	}
	return instead(value, known)
}

// line is where the key stands, or the nearest one above it.
func (c *Config) line(path string) int {
	for {
		if line, ok := c.lines[path]; ok {
			return line
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// checkSecret refuses a secret that stands in the file, unless it is a local
// one.
func (k *checks) checkSecret(r reference) {
	if r.literal() && !r.IsZero() && !k.config.Local() {
		k.problems = append(k.problems, k.config.refuse(r, "a secret must not stand in this file; write ${NAME} or {file: path} instead"))
	}
}

// mostConnections is how many Fiber serves at once.
const mostConnections = 256 << 10

// longestWebhook leaves room for a webhook that has just begun to come when the
// gateway is told to stop, which has 20 seconds for it.
const longestWebhook = 15 * time.Second

// What the gateway takes, in bytes: by itself, and for an open connection beside its
// header, of which it holds three copies. Measured on 2026-11-28 with bin/gateway (Go
// 1.26.8, linux/amd64, two processors, GOGC=10, so that little is garbage) and 2,048 to
// 10,000 connections that had each sent one request and were idle: 16 MiB alone, then
// 23.2 KiB for each with a header of 0.6 KiB, and 65.5 KiB with one of 15 KiB.
const (
	memoryAlone         = 24 * mib
	memoryPerConnection = 22 * kib
	copiesOfHeader      = 3
)

// leastMemory is what all connections and bodies can take at once. With less the
// garbage collector would work without end.
func leastMemory(g Gateway) Size {
	return memoryAlone + g.BodyMemory + Size(g.MaxConnections)*(memoryPerConnection+copiesOfHeader*g.HeaderLimit)
}

func (k *checks) checkGateway(g Gateway) {
	k.address("gateway.listen", g.Listen)
	k.address("gateway.admin", g.Admin)
	if g.Listen == g.Admin && !strings.HasSuffix(g.Admin, ":0") {
		k.refuse("gateway.admin", "is the address of gateway.listen too; write another port")
	}
	k.checkPaths("gateway.tls", g.TLS)
	k.wrong("gateway.publish_timeout", between(g.PublishTimeout, 10*time.Millisecond, longestWebhook))
	if g.PublishTimeout >= g.WriteTimeout && g.WriteTimeout > 0 {
		k.refuse("gateway.publish_timeout", "is not shorter than gateway.write_timeout, so the answer could not be written; write less than "+g.WriteTimeout.String())
	}
	if _, err := durability.Parse(g.Durability); err != nil {
		k.refuse("gateway.durability", k.quoted("gateway.durability", g.Durability)+" "+err.Error())
	}
	k.wrong("gateway.body_limit", between(g.BodyLimit, kib, 8*mib))
	k.wrong("gateway.header_limit", between(g.HeaderLimit, kib, mib))
	k.wrong("gateway.read_timeout", between(g.ReadTimeout, 10*time.Millisecond, longestWebhook))
	k.wrong("gateway.write_timeout", between(g.WriteTimeout, 10*time.Millisecond, 5*time.Minute))
	k.wrong("gateway.idle_timeout", between(g.IdleTimeout, 10*time.Millisecond, time.Hour))
	k.wrong("gateway.max_connections", between(g.MaxConnections, 1, mostConnections))
	k.wrong("gateway.body_memory", between(g.BodyMemory, kib, 64*gib))
	if g.BodyMemory < g.BodyLimit {
		k.refuse("gateway.body_memory", "is less than gateway.body_limit, so the largest webhook could never be read; write "+g.BodyLimit.String()+" or more")
	}
	if least := leastMemory(g); g.MemoryLimit < least {
		k.refuse("gateway.memory_limit", "is too little for gateway.max_connections and gateway.body_memory; write "+least.String()+" or more")
	}
	k.checkLimit("gateway.limit", g.Limit, 0)
	if both := g.ReadTimeout + g.PublishTimeout; both > longestWebhook {
		k.refuse("gateway.read_timeout", "and gateway.publish_timeout are "+both.String()+
			" together, so a stop would cut webhooks off; write less, "+longestWebhook.String()+" at the most for both")
	}
}

// address refuses what net.Listen would refuse. Port 0 is any free port.
func (k *checks) address(path, given string) {
	_, port, err := net.SplitHostPort(given)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		k.refuse(path, k.quoted(path, given)+" is not host:port; write one such as 127.0.0.1:8080, or :8080 for every interface")
	}
}

// checkPaths does not look at the files, because the other roles need not be
// able to read them.
func (k *checks) checkPaths(path string, t TLS) {
	switch {
	case t.Certificate != "" && t.Key == "":
		k.refuse(path, "has a certificate without its key; write "+path+".key too, or remove both for plain HTTP")
	case t.Certificate == "" && t.Key != "":
		k.refuse(path, "has a key without its certificate; write "+path+".certificate too, or remove both for plain HTTP")
	}
}

// monitors takes nats.monitor_url apart.
func monitors(list string) []string {
	var all []string
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimSpace(one); one != "" {
			all = append(all, one)
		}
	}
	return all
}

// natsSchemes are what nats.go can dial.
var natsSchemes = []string{"nats", "tls", "ws", "wss"}

func (k *checks) checkNATS(n natsSection) {
	for _, one := range strings.Split(n.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		switch { // The URL itself is not shown, because people put passwords there.
		case err != nil || u.Host == "" || !slices.Contains(natsSchemes, u.Scheme):
			k.refuse("nats.url", "is not a broker's URL; write one such as nats://127.0.0.1:4222, several with commas between them")
		case u.User != nil:
			k.refuse("nats.url", "carries a user or password; write them as nats.user and nats.password")
		}
	}
	for _, one := range monitors(n.MonitorURL) {
		u, err := url.Parse(one)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "":
			k.refuse("nats.monitor_url", "is not a monitoring address; write one such as http://127.0.0.1:8222, those of a cluster with commas between them")
		case u.User != nil:
			k.refuse("nats.monitor_url", "carries a user or password; a broker's monitoring address has none, so keep it on an internal network")
		}
	}
	if n.CredentialsFile != "" && (n.User != "" || !n.Password.IsZero()) {
		k.refuse("nats.credentials_file", "stands beside nats.user or nats.password; keep one way to log in")
	}
	k.readable("nats.credentials_file", n.CredentialsFile)
	k.readable("nats.ca_file", n.CAFile)
}

func (k *checks) readable(path, file string) {
	if file == "" {
		return
	}
	if _, err := readBounded(k.config.beside(file)); err != nil {
		k.refuse(path, "cannot read the file: "+reason(err)+"; write the path of a readable file")
	}
}

// resolveNATS reads the broker's password, which every role needs.
func (c *Config) resolveNATS() (NATS, Problems) {
	n := c.file.NATS
	resolved := NATS{
		URL: n.URL, Monitors: monitors(n.MonitorURL), User: n.User, Name: n.Name,
		CredentialsFile: c.beside(n.CredentialsFile), CAFile: c.beside(n.CAFile),
	}
	k := &checks{config: c}
	if !n.Password.IsZero() {
		value, problem := c.resolve(n.Password)
		if problem != nil {
			return resolved, Problems{*problem}
		}
		resolved.Password = NewSecret(value)
	}
	switch _, present := c.lines["nats.password"]; {
	case n.User != "" && !present, n.User != "" && !n.Password.IsZero() && resolved.Password.Empty():
		k.refuse("nats.user", "has no password; write nats.password as ${NAME} or {file: path}")
	case n.User == "" && !resolved.Password.Empty() && n.CredentialsFile == "":
		k.refuse("nats.password", "has no user; write nats.user")
	}
	return resolved, k.problems
}
