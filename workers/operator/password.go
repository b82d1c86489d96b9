package operator

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// longestTyped bounds what is read of a password, in bytes: more than any password may have.
const longestTyped = 1 << 10

// newPasswordHash makes the command; hash is access.Hash, which takes a while.
func newPasswordHash(hash func(string) (string, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "password",
		Short: "Print the hash of a password for console.access",
		Long: "Read a password and print its hash by bcrypt, which console.access.users takes in password_hash. At a terminal\n" +
			"the password is asked for twice and not shown; otherwise it is the first line of the standard input. No\n" +
			"configuration and no broker is needed.",
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			typed, err := readPassword(c)
			if err != nil {
				return err
			}
			made, err := hash(typed)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(c.OutOrStdout(), made); err != nil {
				return fmt.Errorf("write hash: %w", err)
			}
			return nil
		},
	}
}

func readPassword(c *cobra.Command) (string, error) {
	if terminal, ok := c.InOrStdin().(*os.File); ok && term.IsTerminal(int(terminal.Fd())) {
		return askPassword(c, int(terminal.Fd()))
	}
	line, err := bufio.NewReader(io.LimitReader(c.InOrStdin(), longestTyped)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read password: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// askPassword asks twice, because the password is not shown.
func askPassword(c *cobra.Command, terminal int) (string, error) {
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		_, _ = fmt.Fprint(c.ErrOrStderr(), prompt) // A failed write to stderr cannot be reported.
		line, err := term.ReadPassword(terminal)
		_, _ = fmt.Fprintln(c.ErrOrStderr())
		if err != nil {
			return "", fmt.Errorf("read password: %w", err)
		}
		typed[i] = string(line)
	}
	if typed[0] != typed[1] {
		return "", usageError{errors.New("the two passwords differ; type the same twice")}
	}
	return typed[0], nil
}
