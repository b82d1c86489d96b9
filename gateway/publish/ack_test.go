package publish

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
)

func TestAcksAreReadStrictly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		data   string
		header nats.Header
		batch  int
		want   error // Nil for success, errAny for an unclassified error.
	}{
		"stored":                  {data: `{"stream":"NOTIFICATIONS","seq":7}`},
		"stored before":           {data: `{"stream":"NOTIFICATIONS","seq":7,"duplicate":true}`},
		"batch stored":            {data: `{"stream":"NOTIFICATIONS","seq":7,"batch":"b","count":3}`, batch: 3},
		"batch of another size":   {data: `{"stream":"NOTIFICATIONS","seq":7,"batch":"b","count":2}`, batch: 3, want: errNoBatches},
		"broker without batches":  {data: `{"stream":"NOTIFICATIONS","seq":7}`, batch: 3, want: errNoBatches},
		"no responders":           {header: nats.Header{"Status": {"503"}}, want: ErrMissing},
		"another stream":          {data: `{"stream":"IMPOSTOR","seq":7}`, want: ErrMissing},
		"no sequence":             {data: `{"stream":"NOTIFICATIONS"}`, want: ErrMissing},
		"full":                    {data: `{"error":{"code":400,"err_code":10077,"description":"maximum bytes exceeded"}}`, want: ErrFull},
		"in process":              {data: `{"error":{"code":409,"err_code":10158,"description":"duplicate message id is in process"}}`, want: errInProcess},
		"full of batches":         {data: `{"error":{"code":429,"err_code":10210,"description":"too many inflight"}}`, batch: 3, want: errAny},
		"staged, but no more":     {want: errAny},
		"not JSON":                {data: `+OK`, want: errAny},
		"store without any words": {data: `{"error":{"code":503,"err_code":10077}}`, want: errAny},
	} {
		err := readAck(&nats.Msg{Data: []byte(c.data), Header: c.header}, c.batch)
		switch {
		case c.want == nil && err != nil, c.want != nil && err == nil:
			t.Errorf("%s: %v", name, err)
		case c.want != nil && !errors.Is(c.want, errAny) && !errors.Is(err, c.want):
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// errAny is an expected error without an Err value.
var errAny = errors.New("any")
