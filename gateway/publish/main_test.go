package publish_test

import (
	"testing"

	"arauto/deploy/runtime/testbench"
)

func TestMain(m *testing.M) { testbench.Main(m) }
