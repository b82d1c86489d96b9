package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"arauto/schemas/subject"
)

const (
	// searchMore is how many of a stream's messages are read for an id that subjects name: the
	// order may have another payment that was not answered yet. 20 ms, a guess.
	searchMore = 100
	// searchAll is how many are read for an id that no subject names: some seconds.
	searchAll = 200_000
	// readers is how many messages are read at a time.
	readers = 16
)

// content is what the documents of all streams have in common.
type content struct {
	Provider  string `json:"provider"`
	Account   string `json:"account"`
	Payment   string `json:"payment"`
	Order     string `json:"order"`
	Reference string `json:"provider_reference"`
}

// contentOf decodes what a document says it is about. ok is false if it does not decode.
func contentOf(body []byte) (of content, ok bool) {
	err := json.Unmarshal(body, &of)
	return of, err == nil
}

// findByContent finds the units of stored documents whose order or provider's reference is
// id: at most so many of what is scheduled, the oldest first because their sequences have gaps,
// and of the newest messages of the other streams. more reports whether there are more messages.
func (s *Deployment) findByContent(ctx context.Context, id string, in scope, most uint64) (found map[subject.Unit]string, more bool, err error) {
	found = map[subject.Unit]string{}
	var lock sync.Mutex // Of found and more: the streams are read at once.
	look := func(raw *jetstream.RawStreamMsg) {
		of, ok := contentOf(raw.Data)
		if !ok || of.Order != id && (in.erasing || of.Reference != id) || of.Payment == "" {
			return
		}
		if !in.has(of.Provider, of.Account) {
			return
		}
		on := "." + of.Provider + "." + of.Account + "."
		if strings.Contains(raw.Subject, on) { // Otherwise the body and the subject disagree.
			lock.Lock()
			defer lock.Unlock()
			found[s.tokens.Unit(of.Provider, of.Account, of.Payment)] = of.Payment
		}
	}
	note := func(rest bool, err error) error {
		lock.Lock()
		defer lock.Unlock()
		more = more || rest
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	waiting := subject.FilterWaiting(in.provider, in.account)
	for _, filter := range []string{waiting.Parked(), waiting.Due()} {
		group.Go(func() error {
			left, rest := most, false
			err := s.each(ctx, subject.LookupRetries, filter, 1, func(raw *jetstream.RawStreamMsg) bool {
				if left == 0 {
					rest = true
					return false
				}
				left--
				look(raw)
				return true
			})
			return note(rest, err)
		})
	}
	streams := []string{subject.Notifications, subject.DeadLetters}
	if most == searchAll { // Else subjects name the id, and a payment that was answered is in the index of orders.
		streams = append(streams, subject.Statuses, subject.Orders)
	}
	for _, stream := range streams {
		group.Go(func() error { return note(s.newest(ctx, stream, most, look)) })
	}
	if err := group.Wait(); err != nil {
		return nil, false, err
	}
	return found, more, nil
}

// newest calls visit with the newest messages of a stream, several at once and in no order,
// and reports whether there are more.
func (s *Deployment) newest(ctx context.Context, stream string, most uint64, visit func(*jetstream.RawStreamMsg)) (more bool, err error) {
	info, err := s.streams[stream].Info(ctx)
	if err != nil {
		return false, fmt.Errorf("read state of %s: %w", stream, err)
	}
	first, last := max(info.State.FirstSeq, 1), info.State.LastSeq
	if more = last >= first+most; more {
		first = last - most + 1
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for sequence := first; sequence <= last && ctx.Err() == nil; sequence++ {
		group.Go(func() error {
			raw, err := s.streams[stream].GetMsg(ctx, sequence)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read %s %d: %w", stream, sequence, err)
			}
			visit(raw)
			return nil
		})
	}
	return more, group.Wait()
}
