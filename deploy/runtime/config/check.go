package config

import (
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"arauto/deploy/runtime/durability"
)

// check reports the problems that concern every role, whichever starts. What the
// tag within of a field says was checked when the file was decoded.
func (k *checks) check() {
	f := &k.file
	if f.Profile != profileProduction && f.Profile != profileLocal {
		k.refuse("profile", k.origins["profile"]+" is not a profile; write production or local")
	}
	k.checkTimeScale(f.TimeScale)
	if f.Deployment != "" && !deploymentName.MatchString(f.Deployment) {
		k.refuse("deployment", k.origins["deployment"]+" is not a name of a deployment; write 1 to 32 of a-z, 0-9 and -, none of them - at the beginning")
	}
	k.checkSecret(f.HashKey)
	k.checkSecret(f.NATS.Password)
	k.checkSecret(f.Expect.Token)
	k.checkSecret(f.Console.Password)
	k.checkNATS(f.NATS)
	k.checkTracing(f.Tracing)
	if !slices.Contains([]int{1, 3, 5}, f.Topology.Replicas) {
		k.refuse("topology.replicas", strconv.Itoa(f.Topology.Replicas)+" is not a number of replicas; write 1 without a cluster, else 3 or 5")
	}
	k.checkGateway(f.Gateway)
	k.checkPlaintext(f.NATS, f.Gateway)
	for role, address := range k.admins() {
		k.address(role+".admin", address)
	}
	k.address("console.listen", f.Console.Listen)
	k.checkConsoleAccess(f.Console)
	if f.Console.Index == "" {
		k.refuse("console.index", "is empty; write a folder for the console alone")
	}
	for i, name := range f.Lookup.Providers {
		k.oneOf("lookup.providers["+strconv.Itoa(i)+"]", name, "a provider", k.providers.Names())
	}
	if text := between(f.Sweep.KeepNotifications, time.Minute, longestKept); text != "" {
		k.refuse("sweep.keep_notifications", text+": observations are kept for 30 days, and without its own a finished notification looks as if nobody had asked")
	}
	if after := f.Sweep.RemoveAfter; after != 0 {
		if text := between(after, max(f.Sweep.Horizon, f.Sweep.CompactAfter), longestRemembered); text != "" {
			k.refuse("sweep.remove_after", text+", or 0 for never: a payment that is looked up or not compacted yet must stay")
		}
	}
	k.checkProviders()
}

// deploymentName is a segment of a CloudEvents source without escapes.
var deploymentName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// longestRemembered is ten years, as for the other times of sweep.
const longestRemembered = 3650 * day

// longestKept leaves sweep a day to remove a finished notification before its
// observation expires, which STATUSES keeps for 30.
const longestKept = 29 * day

// longestScale turns 72 hours into a quarter of a second. The broker fires
// schedules no more often than that, so more would only be noise.
const longestScale = 1_000_000

// checkTimeScale refuses a scaled clock, which is for tests, in production: retries would
// be used up within seconds of an outage.
func (k *checks) checkTimeScale(scale int) {
	if scale != 1 && !k.Local() {
		k.refuse("time_scale", "turns days of retries into seconds and is for tests; remove it, or write profile: local where no real payment is")
		return
	}
	k.wrong("time_scale", between(scale, 1, longestScale))
}

// checkSecret refuses a secret that stands in the file, unless it is a local
// one.
func (k *checks) checkSecret(r reference) {
	if r.literal() && !r.IsZero() && !k.Local() {
		k.refuse(r.path, "a secret must not stand in this file; write ${NAME} or {file: path} instead")
	}
}

// longestWebhook bounds read_timeout and publish_timeout together: a webhook that has just
// begun to arrive when the gateway is stopped must be answered within the 20 seconds that a
// stop may take.
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
	if g.Listen == g.Admin && !strings.HasSuffix(g.Admin, ":0") {
		k.refuse("gateway.admin", "is the address of gateway.listen too; write another port")
	}
	k.checkTLS(g.TLS)
	if g.PublishTimeout >= g.WriteTimeout && g.WriteTimeout > 0 {
		k.refuse("gateway.publish_timeout", "is not shorter than gateway.write_timeout, so the answer could not be written; write less than "+g.WriteTimeout.String())
	}
	if _, err := durability.Parse(g.Durability); err != nil {
		k.refuse("gateway.durability", k.origins["gateway.durability"]+" "+err.Error())
	}
	if g.BodyMemory < g.BodyLimit {
		k.refuse("gateway.body_memory", "is less than gateway.body_limit, so the largest webhook could never be read; write "+g.BodyLimit.String()+" or more")
	}
	if least := leastMemory(g); g.MemoryLimit < least {
		k.refuse("gateway.memory_limit", "is too little for gateway.max_connections and gateway.body_memory; write "+least.String()+" or more")
	}
	k.checkLimit("gateway.limit", g.Limit, 0)
	if g.Failures.Burst > 0 && g.Failures.Rate == 0 {
		k.refuse("gateway.authentication_failures.burst", "limits nothing without a rate; write rate beside it, in failures per second")
	}
	k.checkProxies(g.Proxies)
	if both := g.ReadTimeout + g.PublishTimeout; both > longestWebhook {
		k.refuse("gateway.read_timeout", "and gateway.publish_timeout are "+both.String()+
			" together, so a stop would cut webhooks off; write less, "+longestWebhook.String()+" at the most for both")
	}
}

// checkLimit refuses a burst without a rate. rate is the rate that holds where the section
// at path has none.
func (k *checks) checkLimit(path string, l Limit, rate int) {
	if l.Burst > 0 && l.Rate == 0 && rate == 0 {
		k.refuse(path+".burst", "limits nothing without a rate; write rate beside it, in webhooks per second")
	}
}

// address refuses what net.Listen would refuse. Port 0 is any free port.
func (k *checks) address(path, given string) {
	_, port, err := net.SplitHostPort(given)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		k.refuse(path, k.origins[path]+" is not host:port; write one such as 127.0.0.1:8080, or :8080 for every interface")
	}
}

// checkTLS does not look at the files, because the other roles need not be able
// to read them.
func (k *checks) checkTLS(t TLS) {
	there, missing := "certificate", "key"
	if t.Certificate == "" {
		there, missing = missing, there
	}
	if (t.Certificate == "") != (t.Key == "") {
		k.refuse("gateway.tls", "has a "+there+" without its "+missing+"; write gateway.tls."+missing+" too, or remove both for plain HTTP")
	}
}
