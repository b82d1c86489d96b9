package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// The verbs on AUDIT, which are also the last token of its subjects.
const (
	verbRedrive      = "redrive"
	verbDiscard      = "discard"
	verbForget       = "forget"
	verbReplay       = "replay"
	verbRetryNow     = "retry_now"
	verbCircuitOpen  = "circuit_open"
	verbCircuitClose = "circuit_close"
	verbExpect       = "expect"
	verbWithdraw     = "withdraw"

	verbHold    = "hold"
	verbBackup  = "backup"
	verbRestore = "restore"
	verbResume  = "resume"

	verbJobStop = "job_stop"

	verbSubscriberAdd    = "subscriber_add"
	verbSubscriberRemove = "subscriber_remove"
)

// audit records what the command is about to change. It must return nil before anything
// is changed. letter is the id of a dead letter, "" without one.
func (s *Deployment) audit(ctx context.Context, verb string, unit subject.Unit, letter, what string) error {
	switch verb {
	case verbRedrive, verbDiscard, verbForget, verbReplay, verbRetryNow, verbCircuitOpen, verbCircuitClose, verbExpect, verbWithdraw:
		// A backup copies one stream after the other: what was changed in between would be in one
		// copy and not in the next.
		if err := s.refuseHeld(ctx); err != nil {
			return err
		}
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make audit id: %w", err)
	}
	body, err := json.Marshal(record.Audit{
		ID: id.String(), Verb: verb, Who: s.who, Host: host(), At: time.Now().UTC(),
		Provider: unit.Provider, Account: unit.Account, Payment: unit.Payment, Letter: letter, What: what,
	})
	if err != nil {
		return fmt.Errorf("encode audit entry: %w", err)
	}
	if _, err := s.js.Publish(ctx, subject.AuditEntry(verb), body, jetstream.WithMsgID(id.String())); err != nil {
		return fmt.Errorf("write audit entry: %w", err)
	}
	return nil
}
