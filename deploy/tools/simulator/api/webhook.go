package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"arauto/schemas/provider"
)

// webhookTimeout is how long a webhook may take.
const webhookTimeout = 5 * time.Second

// newClient sends webhooks. It follows no redirect: a provider takes
// anything but 200 for a failure.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 32, IdleConnTimeout: 30 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// notify tells the gateway of a payment as its provider would, in a webhook that is signed
// at the given time. It returns the
// gateway's HTTP status, 0 without one, and an error for everything but 200.
// It does not end when the caller of the control call goes away, because a
// provider would not notice that either.
func (s *Simulator) notify(k key, p payment, at time.Time) (int, error) {
	if s.gateway == "" {
		return 0, errors.New("send webhook: no gateway URL is configured")
	}
	status, err := s.send(k, p, at)
	code := "error"
	if status != 0 {
		code = strconv.Itoa(status)
	}
	s.metrics.webhooks.WithLabelValues(k.Provider, code).Inc()
	s.log.Debug("webhook.sent", zap.String("provider", k.Provider), zap.String("account", k.Account), zap.String("code", code))
	return status, err
}

// tellLater sends the webhooks of a change when their time has come, without
// anybody who waits for them. Those that are not sent when the simulator stops
// never are.
func (s *Simulator) tellLater(k key, p payment, c change) {
	time.AfterFunc(time.Duration(c.After*float64(time.Second)), func() {
		at := s.now()
		for range max(1, c.Times) {
			if s.stopped.Err() != nil {
				return
			}
			_, _ = s.notify(k, p, at) // It counts and logs what becomes of it.
		}
	})
}

func (s *Simulator) send(k key, p payment, at time.Time) (int, error) {
	ctx, cancel := context.WithTimeout(s.stopped, webhookTimeout)
	defer cancel()
	base, err := url.Parse(s.gateway)
	if err != nil {
		return 0, errors.New("send webhook: gateway URL is unusable")
	}
	d, _ := dialectOf(k.Provider) // There is no key without one.
	r, err := d.request(base, k, p, at)
	if err != nil {
		return 0, fmt.Errorf("build webhook: %w", err)
	}
	resp, err := s.client.Do(r.WithContext(ctx))
	if err != nil {
		return 0, fmt.Errorf("send webhook: %w", withoutURL(err))
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody)) // Only the status counts; reading keeps the connection usable.
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, fmt.Errorf("send webhook: gateway answered %d", resp.StatusCode)
	}
	return resp.StatusCode, nil
}

// withoutURL drops the URL that the client puts into its errors: it may hold
// a path key.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// request is the webhook to the gateway as the provider sends it. Where that carries a
// credential, only accounts other than the default are named; else the path holds the
// account's key.
func (d dialect) request(base *url.URL, k key, p payment, now time.Time) (*http.Request, error) {
	secret, path := provider.OfAccount(k.Account, d.Secret), []string{"v1", k.Provider}
	switch {
	case d.Sign == nil:
		path = append(path, k.Account, secret)
	case k.Account != provider.DefaultAccount:
		path = append(path, k.Account)
	}
	target := base.JoinPath(append(path, "notifications")...)
	w := d.Webhook(named(k, p))
	w.Method, w.Path, w.At = http.MethodPost, target.EscapedPath(), now
	if d.Sign != nil {
		d.Sign(&w, secret)
	}
	target.RawQuery = w.Query.Encode()
	r, err := http.NewRequestWithContext(context.Background(), w.Method, target.String(), bytes.NewReader(w.Body))
	if err != nil {
		return nil, errors.New("address is unusable")
	}
	headers, _ := w.Header.(provider.HeaderMap)
	for name, values := range headers {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	r.Close = r.Header.Get("connection") == "close"
	return r, nil
}

// referenceOf is a made-up id that the provider itself gives a payment: 32
// hexadecimal digits, always the same ones for the same payment.
func referenceOf(k key) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{k.Provider, k.Account, k.Unit, k.ID}, "\x00")))
	return hex.EncodeToString(sum[:16])
}
