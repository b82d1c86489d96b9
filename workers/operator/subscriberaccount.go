package operator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"arauto/schemas/subject"
)

// subscriberSubjects is what a service may publish to: the broker's API for its own consumer
// (to look at it, to pull, to reset it and to ack), stored messages to read them again, and
// dead letters of the order events that it refuses.
func subscriberSubjects(name, stream string) []string {
	all := []string{
		"$JS.API.CONSUMER.INFO." + stream + "." + name,
		"$JS.API.CONSUMER.MSG.NEXT." + stream + "." + name,
		"$JS.API.CONSUMER.RESET." + stream + "." + name,
		"$JS.ACK." + stream + "." + name + ".>",
		"$JS.ACK._.*." + stream + "." + name + ".>",
		"$JS.API.STREAM.INFO." + stream,
		"$JS.API.STREAM.MSG.GET." + stream,
	}
	if stream == subject.Orders {
		all = append(all, "dead.subscriber."+name+".*.*.*")
	}
	return all
}

// SubscriberAccount is the account in the broker's configuration of a service that reads a
// stream, with the hash of its password. The account is named like the service's consumer: that is what the exports
// of deploy/nats.conf compare. It stands in quotes, because the broker reads some words without
// them, such as on and include, as something else.
func SubscriberAccount(name, stream, hash string) string {
	subjects := subscriberSubjects(name, stream)
	var imports, allowed strings.Builder
	for _, s := range append(subjects, "$JS.API.INFO") {
		fmt.Fprintf(&imports, "    { service: { account: ARAUTO, subject: %q } }\n", s)
	}
	for _, s := range subjects {
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
