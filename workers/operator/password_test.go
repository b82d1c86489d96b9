package operator

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"arauto/deploy/runtime/testbench"
	"arauto/workers/console/access"
)

func TestPasswordPrintsItsHashAndNothingElse(t *testing.T) {
	t.Parallel()
	var typed string
	c := newPasswordHash(func(password string) (string, error) {
		typed = password
		return access.Hash(password)
	})
	var out, problems bytes.Buffer
	c.SetIn(strings.NewReader("three words and one\r\nnext line"))
	c.SetOut(&out)
	c.SetErr(&problems)
	c.SetArgs(nil)
	testbench.Must(t, c.ExecuteContext(testbench.Context(t)))
	hash := strings.TrimSuffix(out.String(), "\n")
	if cost, err := bcrypt.Cost([]byte(hash)); err != nil || cost != 12 {
		t.Errorf("the hash %q has the cost %d, %v", hash, cost, err)
	}
	if typed != "three words and one" || problems.Len() > 0 {
		t.Errorf("the hash is that of %q, and this was said: %q", typed, problems.String())
	}
}

func TestWeakPasswordIsRefusedAndNotShown(t *testing.T) {
	t.Parallel()
	for _, weak := range []string{"", "canary", "canary\nanother line that would be long enough"} {
		c := newPasswordHash(access.Hash)
		var out bytes.Buffer
		c.SilenceUsage, c.SilenceErrors = true, true
		c.SetIn(strings.NewReader(weak))
		c.SetOut(&out)
		c.SetArgs(nil)
		err := c.ExecuteContext(testbench.Context(t))
		if err == nil || out.Len() > 0 || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "15 characters") {
			t.Errorf("%q: %v, %q", weak, err, out.String())
		}
	}
}
