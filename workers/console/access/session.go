package access

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"
)

// mostSessions is how many sessions one person may have: one for each browser. A further
// log-in ends the one that was used the longest ago, so that memory is bounded by the
// number of users.
const mostSessions = 8

// session is one log-in. Its fields belong to sessions.
type session struct {
	name     string
	password [sha256.Size]byte // Of the hash with which it was logged in.
	begun    time.Time
	used     time.Time
	ended    context.Context //nolint:containedctx // It ends with the session, and event streams end with it.
	end      context.CancelFunc
}

// sessions are the log-ins that have not ended, by the hash of their cookie, so that a dump
// of the memory shows no cookie.
type sessions struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]*session
}

func newSessions() *sessions { return &sessions{all: map[[sha256.Size]byte]*session{}} }

func (s *sessions) count() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return float64(len(s.all))
}

// find returns the session of a cookie and its person, nil for none. used makes it last for
// a further idle time.
func (s *sessions) find(cookie string, now *Settings, used bool) (*session, string) { //nolint:revive // flag-parameter: an event stream is the one request that is no use.
	if cookie == "" {
		return nil, ""
	}
	id := sha256.Sum256([]byte(cookie))
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.all[id]
	if found == nil {
		return nil, ""
	}
	if !found.valid(now) {
		s.remove(id)
		return nil, ""
	}
	if used {
		found.used = now.Now()
	}
	return found, found.name
}

// valid reports whether the session goes on by the settings of now.
func (s *session) valid(now *Settings) bool {
	at := now.Now()
	user, ok := now.Users[s.name]
	return ok && sha256.Sum256([]byte(user.Hash)) == s.password && at.Before(s.used.Add(now.Idle)) && at.Before(s.begun.Add(now.Lifetime))
}

// begin stores a session under a new cookie.
func (s *sessions) begin(cookie, name string, now *Settings) {
	added := &session{name: name, password: sha256.Sum256([]byte(now.Users[name].Hash)), begun: now.Now(), used: now.Now()}
	added.ended, added.end = context.WithCancel(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeRoom(name, now)
	s.all[sha256.Sum256([]byte(cookie))] = added
}

// makeRoom removes what has ended, and the session of the person that was used the longest
// ago when there are too many.
func (s *sessions) makeRoom(name string, now *Settings) {
	var oldest [sha256.Size]byte
	own := 0
	for id, one := range s.all {
		switch {
		case !one.valid(now):
			s.remove(id)
		case one.name == name:
			own++
			if first := s.all[oldest]; first == nil || one.used.Before(first.used) {
				oldest = id
			}
		}
	}
	if own >= mostSessions {
		s.remove(oldest)
	}
}

// stop ends the session of a cookie.
func (s *sessions) stop(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(sha256.Sum256([]byte(cookie)))
}

func (s *sessions) remove(id [sha256.Size]byte) {
	if found := s.all[id]; found != nil {
		found.end()
		delete(s.all, id)
	}
}
