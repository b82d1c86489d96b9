package operator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// subscriberSubjects is what a service may publish to: the broker's API for its own consumer
// (to look at it, to pull, to reset it and to ack), stored events to read them again, and dead
// letters of the events that it refuses.
func subscriberSubjects(name string) []string {
	return []string{
		"$JS.API.CONSUMER.INFO.ORDERS." + name,
		"$JS.API.CONSUMER.MSG.NEXT.ORDERS." + name,
		"$JS.API.CONSUMER.RESET.ORDERS." + name,
		"$JS.ACK.ORDERS." + name + ".>",
		"$JS.ACK.*.*.ORDERS." + name + ".>",
		"$JS.API.STREAM.INFO.ORDERS",
		"$JS.API.STREAM.MSG.GET.ORDERS",
		"dead.subscriber." + name + ".*.*.*",
	}
}

// SubscriberAccount is the account of a service in the broker's configuration, with the hash
// of its password. The account is named like the service's consumer: that is what the exports
// of deploy/nats.conf compare. It stands in quotes, because the broker reads some words without
// them, such as on and include, as something else.
func SubscriberAccount(name, hash string) string {
	var imports, allowed strings.Builder
	for _, s := range append(subscriberSubjects(name), "$JS.API.INFO") {
		fmt.Fprintf(&imports, "    { service: { account: ARAUTO, subject: %q } }\n", s)
	}
	for _, s := range subscriberSubjects(name) {
		fmt.Fprintf(&allowed, "          %q\n", s)
	}
	return fmt.Sprintf(`%[1]q {
  limits { max_connections: 16 }
  imports: [
%[2]s  ]
  users: [{
    user: %[1]q
    password: %[4]q
    permissions {
      publish: {
        allow: [
%[3]s        ]
      }
      subscribe: { allow: ["_INBOX_%[1]s.>"] }
    }
  }]
}
`, name, imports.String(), allowed.String(), hash)
}

// The lines around an account in the file of the broker's configuration.
const (
	accountBegins = "# begin "
	accountEnds   = "# end "
)

// writeAccount puts an account into a file of the broker's configuration, in place of the one
// of the same name; "" removes that. The file is written in place, because a file that is
// mounted into a container would keep its old text after a rename.
func writeAccount(file, name, account string) error {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the broker's file: %w", err)
	}
	begin, end := accountBegins+name+"\n", accountEnds+name+"\n"
	before, rest, found := strings.Cut(string(text), begin)
	if found {
		_, after, closed := strings.Cut(rest, end)
		if !closed {
			return fmt.Errorf("%s has the line %q without %q; mend it by hand", file, strings.TrimSpace(begin), strings.TrimSpace(end))
		}
		before += after
	}
	if account != "" {
		if before != "" && !strings.HasSuffix(before, "\n") {
			before += "\n"
		}
		before += begin + account + end
	}
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil { //nolint:gosec // The operator names the file.
		return fmt.Errorf("write the broker's file: %w", err)
	}
	return nil
}
