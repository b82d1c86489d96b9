package operator

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"arauto/deploy/runtime/testbench"
)

func TestPasswordPrintsItsHashAndNothingElse(t *testing.T) {
	t.Parallel()
	c := newPasswordHash()
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
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte("three words and one")) != nil || problems.Len() > 0 {
		t.Errorf("the hash is not that of the first line, or something was said: %q", problems.String())
	}
}

func TestWeakPasswordIsRefusedAndNotShown(t *testing.T) {
	t.Parallel()
	for _, weak := range []string{"", "canary", "canary\nanother line that would be long enough"} {
		c := newPasswordHash()
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
