package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	shipped "arauto/deploy"
	"arauto/deploy/runtime/config"
)

// operatorUser is the user of nats.conf that every command needs which has no user of its own.
const operatorUser = "operator"

// userInfoSubject is where a server answers what the login of a connection may do.
const userInfoSubject = "$SYS.REQ.USER.INFO"

// userInfo is what a server answers there.
type userInfo struct {
	Server struct {
		Time time.Time `json:"time"`
	} `json:"server"`
	Data struct {
		Permissions struct {
			Publish   pattern `json:"publish"`
			Subscribe pattern `json:"subscribe"`
		} `json:"permissions"`
	} `json:"data"`
}

// pattern is where a login may publish, or to what it may subscribe. Without Allow that is
// everything but Deny.
type pattern struct {
	Allow []string `json:"allow"`
	Deny  []string `json:"deny"`
}

// serversNeeds looks at each server that nats.url names. notes say what it could not look at.
func (s *Deployment) serversNeeds(ctx context.Context) (found []Need, notes []string) {
	n, seen := s.config.NATS(), map[string]bool{}
	if !loggedIn(n) {
		notes = append(notes, "permissions, because this command logs in as no user")
	}
	for url := range strings.SplitSeq(n.URL, ",") {
		n.URL = strings.TrimSpace(url)
		conn, err := connect(ctx, n, operatorInbox)
		if err != nil {
			found = append(found, Need{later, fmt.Sprintf("server %s of nats.url does not answer (%v): see that it runs", n.URL, err)})
			continue
		}
		if id := conn.ConnectedServerId(); !seen[id] { // Names of several addresses may lead to one server.
			seen[id] = true
			more, err := serverNeeds(ctx, conn, n)
			if found = append(found, more...); err != nil {
				notes = append(notes, fmt.Sprintf("permissions and the clock at server %s, which does not say them (%v)", conn.ConnectedServerName(), err))
			}
		}
		conn.Close()
	}
	return found, notes
}

// loggedIn reports whether this command logs in at the broker.
func loggedIn(n config.NATS) bool {
	return cmp.Or(n.User, n.NKeyFile, n.CredentialsFile, n.CertificateFile) != ""
}

// serverNeeds looks at the certificate and the clock of the connected server and, where this
// command logs in, at its permissions there.
func serverNeeds(ctx context.Context, conn *nats.Conn, n config.NATS) ([]Need, error) {
	var found []Need
	name := conn.ConnectedServerName()
	if state, err := conn.TLSConnectionState(); err == nil {
		found = endOf("the certificate of server "+name, state.PeerCertificates, time.Now())
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	began := time.Now()
	answer, err := conn.RequestWithContext(ctx, userInfoSubject, nil)
	ended := time.Now()
	if refused := conn.LastError(); errors.Is(refused, nats.ErrPermissionViolation) {
		found = append(found, mayNot(name, "publish to", []string{userInfoSubject}))
	}
	if err != nil {
		return found, fmt.Errorf("ask who this is: %w", err)
	}
	var info userInfo
	if err := json.Unmarshal(answer.Data, &info); err != nil {
		return found, fmt.Errorf("decode who this is: %w", err)
	}
	found = append(found, clockOff("server "+name, info.Server.Time, began, ended)...)
	if may := info.Data.Permissions; loggedIn(n) {
		publish, subscribe := granted()
		found = append(found, may.Publish.compare(name, "publish to", publish)...)
		found = append(found, may.Subscribe.compare(name, "subscribe to", subscribe)...)
	}
	return found, nil
}

// clockOff is a finding if a clock that showed at between began and ended of this machine's
// differs from that by more than clockDiffers, whatever the round trip took.
func clockOff(whose string, at, began, ended time.Time) []Need {
	ahead := max(began.Sub(at), at.Sub(ended))
	if ahead < clockDiffers {
		return nil
	}
	return []Need{{later, fmt.Sprintf("the clocks of %s and of this machine differ by %v: set both by NTP", whose, ahead.Round(time.Millisecond))}}
}

// quoted is a string of nats.conf.
var quoted = regexp.MustCompile(`"([^"]+)"`)

// granted is what the shipped nats.conf lets the user operator publish to and subscribe to.
func granted() (publish, subscribe []string) {
	_, section, _ := strings.Cut(shipped.NATSConf, " user: "+operatorUser+"\n")
	publishes, section, _ := strings.Cut(section, "subscribe: {")
	subscribes, _, _ := strings.Cut(section, "}")
	for _, one := range quoted.FindAllStringSubmatch(publishes, -1) {
		publish = append(publish, one[1])
	}
	for _, one := range quoted.FindAllStringSubmatch(subscribes, -1) {
		subscribe = append(subscribe, one[1])
	}
	return publish, subscribe
}

// within reports whether a subject or pattern is contained in one of others.
func within(one string, others []string) bool {
	return slices.ContainsFunc(others, func(other string) bool { return jwt.Subject(one).IsContainedIn(jwt.Subject(other)) })
}

// compare finds what nats.conf grants and the server does not, and the other way round.
func (may pattern) compare(server, to string, grants []string) (found []Need) {
	allow := may.Allow
	if len(allow) == 0 {
		allow = []string{">"}
	}
	missing := slices.DeleteFunc(slices.Clone(grants), func(one string) bool {
		denied := slices.ContainsFunc(may.Deny, func(not string) bool { return within(one, []string{not}) || within(not, []string{one}) })
		return within(one, allow) && !denied
	})
	more := slices.DeleteFunc(slices.Clone(allow), func(one string) bool { return within(one, grants) || within(one, may.Deny) })
	if len(missing) > 0 {
		found = append(found, mayNot(server, to, missing))
	}
	if len(more) > 0 {
		found = append(found, Need{later, fmt.Sprintf("at server %s the user %s may also %s %s: take from it what nats.conf of this version does not grant",
			server, operatorUser, to, strings.Join(more, ", "))})
	}
	return found
}

// mayNot is the finding that a grant is missing.
func mayNot(server, to string, missing []string) Need {
	return Need{later, fmt.Sprintf("at server %s the user %s may not %s %s: grant it what nats.conf of this version does", server, operatorUser, to, strings.Join(missing, ", "))}
}
