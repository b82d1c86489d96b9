package subject_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

func ExampleParseUnit() {
	unit, err := subject.ParseUnit("dead.data.lookup.picpay.default.102030")
	fmt.Println(unit, err)
	_, err = subject.ParseUnit("dead.data.lookup.picpay.default")
	fmt.Println(err)
	// Output:
	// picpay.default.102030 <nil>
	// subject "dead.data.lookup.picpay.default" is not dead.<class>.<stage>.<provider>.<account>.<payment>
}

func ExampleFilter() {
	fmt.Println(subject.Filter("picpay", "").Notification())
	fmt.Println(subject.Filter("", "acme").DeadLetter(subject.Any, "lookup"))
	fmt.Println(subject.FilterWaiting("", "").Due())
	fmt.Println(subject.Filter("", "").Event(subject.Any, order.Paid))
	// Output:
	// notifications.picpay.*.*
	// dead.*.lookup.*.acme.*
	// lookup.due.*.*.*
	// orders.*.*.*.*.paid
}

func token(t *rapid.T, label string) string {
	return rapid.StringMatching(`[A-Za-z0-9_%~-]{1,20}`).Draw(t, label)
}

func TestEverySubjectIsParsedAsItWasBuilt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		u := subject.Unit{Provider: token(t, "provider"), Account: token(t, "account"), Payment: token(t, "payment")}
		w := subject.Waiting{Provider: u.Provider, Account: u.Account, Hash: token(t, "hash")}
		event := subject.Event{Unit: u, Order: token(t, "order"), Status: order.Status(token(t, "status"))}
		letter := subject.DeadLetter{Class: token(t, "class"), Stage: token(t, "stage"), Unit: u}
		for _, on := range []string{
			u.Notification(), u.Status(), u.Event(event.Order, event.Status), u.DeadLetter(letter.Class, letter.Stage),
		} {
			if got, err := subject.ParseUnit(on); err != nil || got != u {
				t.Fatalf("%s is parsed as %v, %v", on, got, err)
			}
		}
		if got, err := subject.ParseUnit(u.Notification()); err != nil || got != u {
			t.Fatalf("notification is parsed as %v, %v", got, err)
		}
		if got, err := subject.ParseStatus(u.Status()); err != nil || got != u {
			t.Fatalf("status is parsed as %v, %v", got, err)
		}
		if got, err := subject.ParseEvent(u.Event(event.Order, event.Status)); err != nil || got != event {
			t.Fatalf("event is parsed as %v, %v", got, err)
		}
		if got, err := subject.ParseDeadLetter(u.DeadLetter(letter.Class, letter.Stage)); err != nil || got != letter {
			t.Fatalf("dead letter is parsed as %v, %v", got, err)
		}
		for _, on := range []string{w.Parked(), w.Due(), w.Forgotten()} {
			if got, err := subject.ParseWaiting(on); err != nil || got != w {
				t.Fatalf("%s is parsed as %v, %v", on, got, err)
			}
		}
		for _, on := range []string{subject.Circuit(u.Provider, u.Account), subject.CircuitChanged(u.Provider, u.Account)} {
			if provider, account, err := subject.ParseCircuit(on); err != nil || provider != u.Provider || account != u.Account {
				t.Fatalf("%s is parsed as %s, %s, %v", on, provider, account, err)
			}
		}
	})
}

func TestForeignSubjectIsNotParsed(t *testing.T) {
	t.Parallel()
	unit := func(parse func(string) (subject.Unit, error)) func(string) error {
		return func(on string) error { _, err := parse(on); return err }
	}
	parsers := map[string]func(string) error{
		"unit":        unit(subject.ParseUnit),
		"status":      unit(subject.ParseStatus),
		"event":       func(on string) error { _, err := subject.ParseEvent(on); return err },
		"dead letter": func(on string) error { _, err := subject.ParseDeadLetter(on); return err },
		"waiting":     func(on string) error { _, err := subject.ParseWaiting(on); return err },
		"circuit":     func(on string) error { _, _, err := subject.ParseCircuit(on); return err },
	}
	for _, on := range []string{
		"", ".", "notifications", "notifications.a.b", "notifications.a.b.c.d", "notifications.a..c", "notifications.a.b.", "statuses.a.b",
		"orders.a.b.c.d", "orders.a.b.c.d.e.f", "orders.a.b.c..paid", "dead.a.b.c.d", "dead.a.b.c.d.e.f", "lookup.a.b.c.d",
		"lookup.parked.a.b", "forgotten.a.b", "circuits.a", "circuits.a.b.c", "circuits-changed.a", "audit.replay",
	} {
		for name, parse := range parsers {
			if parse(on) == nil {
				t.Errorf("%q is parsed as a %s", on, name)
			}
		}
	}
	if err := parsers["status"]("notifications.a.b.c"); err == nil || !strings.Contains(err.Error(), "statuses.<provider>") {
		t.Errorf("the error does not say what was expected: %v", err)
	}
}

func TestProviderOfALookupConsumer(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		subject.LookupConsumer("picpay-checkout"): "picpay-checkout", subject.LookupDueConsumer("picpay-checkout"): "picpay-checkout",
		subject.NormalizeConsumer: "", subject.LookupConsumer(""): "", subject.LookupDueConsumer(""): "", "": "",
	} {
		if got, ok := subject.ParseLookupConsumer(name); got != want || ok != (want != "") {
			t.Errorf("consumer %q is of %q, %t", name, got, ok)
		}
	}
}

func TestFiltersOfFamiliesMatchTheirSubjects(t *testing.T) {
	t.Parallel()
	u := subject.Unit{Provider: "picpay", Account: "default", Payment: "102030"}
	w := subject.Waiting{Provider: "picpay", Account: "default", Hash: "ab12"}
	for filter, on := range map[string]string{
		subject.AllNotifications:          u.Notification(),
		subject.AllStatuses:               u.Status(),
		subject.AllEvents:                 u.Event("o", order.Paid),
		subject.AllScheduled:              w.Parked(),
		subject.AllDue:                    w.Due(),
		subject.AllDeadLetters:            u.DeadLetter("data", "lookup"),
		subject.AllCircuits:               subject.Circuit("picpay", "default"),
		subject.AllCircuitChanges:         subject.CircuitChanged("picpay", "default"),
		subject.AllAudit:                  subject.AuditEntry("replay"),
		subject.NotificationsOf("picpay"): u.Notification(),
		subject.DueOf("picpay"):           w.Due(),
	} {
		if prefix, ok := strings.CutSuffix(filter, ">"); !ok || !strings.HasPrefix(on, prefix) {
			t.Errorf("filter %q does not match %q", filter, on)
		}
	}
}
