package publish_test

import (
	"testing"

	"arauto/gateway/gatewaytest"
)

func TestMain(m *testing.M) { gatewaytest.VerifyNoLeaks(m) }
