package stream

import (
	"context"
	"fmt"
	"math"

	"github.com/nats-io/nats.go/jetstream"
)

// EachFew is Each for a filter that few subjects match, such as the one of a payment. It
// visits what was stored when it was called.
//
// Each asks for the next message on the filter, also behind the last one. nats-server
// 2.15.3 (server/filestore.go, LoadNextMsg) answers that by a walk over every block of the
// stream once the filter has a wildcard and the stream has 64 k subjects: 45 to 106 ms
// (measured). The last message on a filter, and the first one, are found by the index of
// subjects, and so is the end of a subject without wildcards. So EachFew asks for the last
// message first, and for those between it and the first one subject by subject. Before it
// may go, check that LoadNextMsg uses the index for a filter with a wildcard.
func EachFew(ctx context.Context, s jetstream.Stream, filter string, above uint64,
	visit func(*jetstream.RawStreamMsg) (more bool, err error)) error {
	_, err := eachFew(ctx, s, filter, above, math.MaxUint64, visit)
	return err
}

// EachNewest is EachFew for the newest messages, and reports whether there are older ones. Of
// more than most messages it visits at most so many, and at least half of that.
func EachNewest(ctx context.Context, s jetstream.Stream, filter string, most uint64,
	visit func(*jetstream.RawStreamMsg) (more bool, err error)) (older bool, err error) {
	return eachFew(ctx, s, filter, 0, most, visit)
}

func eachFew(ctx context.Context, s jetstream.Stream, filter string, above, most uint64,
	visit func(*jetstream.RawStreamMsg) (more bool, err error)) (older bool, err error) {
	last, err := Last(ctx, s, filter)
	if err != nil || last == nil || last.Sequence <= above {
		return false, err
	}
	if above == 0 {
		first, err := Next(ctx, s, filter, 0)
		if err != nil {
			return false, err
		}
		if first != nil && first.Sequence == last.Sequence {
			_, err := visit(first)
			return false, err
		}
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return false, fmt.Errorf("list subjects on %s: %w", filter, err)
	}
	stored := uint64(0)
	for _, count := range info.State.Subjects {
		stored += count
	}
	if older = stored > most; older {
		if above, err = aboveNewest(ctx, s, filter, last.Sequence, most); err != nil {
			return true, err
		}
	}
	all := make([]*oneSubject, 0, len(info.State.Subjects))
	for name, count := range info.State.Subjects {
		one := &oneSubject{stream: s, name: name, upTo: last.Sequence}
		if above == 0 {
			one.left = count
		}
		if err := one.open(ctx, above); err != nil {
			return older, err
		}
		all = append(all, one)
	}
	for {
		lowest := lowest(all)
		if lowest == nil {
			return older, nil
		}
		more, err := visit(lowest.next)
		if err != nil || !more {
			return older, err
		}
		if err := lowest.advance(ctx, lowest.next.Sequence); err != nil {
			return older, err
		}
	}
}

// aboveNewest returns a sequence above which a filter has at most so many messages, and at
// least half of that, where it has more than so many up to last. The broker has no read
// backwards, so the distance below last is doubled until it holds too many messages, and then
// halved between the two.
func aboveNewest(ctx context.Context, s jetstream.Stream, filter string, last, most uint64) (uint64, error) {
	fits, exceeds := min(most, last), last // Distances below last.
	for exceeds-fits > most/2 {
		next := 2 * fits
		if next >= exceeds {
			next = fits + (exceeds-fits)/2
		}
		n, err := countAbove(ctx, s, filter, last-next, last, most)
		switch {
		case err != nil:
			return 0, err
		case n > most:
			exceeds = next
		case n >= most-most/2:
			return last - next, nil
		default:
			fits = next
		}
	}
	return last - fits, nil
}

// countAbove counts the messages on a filter above a sequence and up to last, but no further
// than one more than most.
func countAbove(ctx context.Context, s jetstream.Stream, filter string, above, last, most uint64) (n uint64, err error) {
	for above < last && n <= most {
		raw, err := Next(ctx, s, filter, above)
		if err != nil || raw == nil || raw.Sequence > last {
			return n, err
		}
		above = raw.Sequence
		n++
	}
	return n, nil
}

// oneSubject reads the messages of a subject without wildcards up to a sequence.
type oneSubject struct {
	stream jetstream.Stream
	name   string
	upTo   uint64
	left   uint64                  // How many messages there are from next on, or fewer if some expired; 0 for unknown.
	next   *jetstream.RawStreamMsg // The next message, nil when there is none.
	last   *jetstream.RawStreamMsg // The subject's last message.
}

// open reads the subject's last message, and the first one above a sequence.
func (o *oneSubject) open(ctx context.Context, above uint64) (err error) {
	if o.last, err = Last(ctx, o.stream, o.name); err != nil {
		return err
	}
	return o.seek(ctx, above)
}

// advance goes on behind a message.
func (o *oneSubject) advance(ctx context.Context, above uint64) error {
	if o.left > 0 {
		o.left--
	}
	return o.seek(ctx, above)
}

// seek reads the first message above a sequence, if it is not the last one anyway.
func (o *oneSubject) seek(ctx context.Context, above uint64) (err error) {
	switch {
	case o.last == nil, o.last.Sequence <= above, above >= o.upTo:
		o.next = nil
		return nil
	case o.left == 1 && o.last.Sequence <= o.upTo:
		o.next = o.last
	default:
		o.next, err = Next(ctx, o.stream, o.name, above)
	}
	if o.next != nil && o.next.Sequence > o.upTo {
		o.next = nil
	}
	return err
}

// lowest is the subject whose next message has the lowest sequence, nil when none has one.
func lowest(all []*oneSubject) *oneSubject {
	var found *oneSubject
	for _, one := range all {
		if one.next != nil && (found == nil || one.next.Sequence < found.next.Sequence) {
			found = one
		}
	}
	return found
}
