package check_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// roles are the users of nats.conf. Each has a password variable of its own.
var roles = []string{"breakglass", "gateway", "lookup", "normalize", "operator", "sweep", "topology", "viewer"}

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "wget" {
		os.Exit(spider(os.Args[len(os.Args)-1]))
	}
	// The broker's configuration reads passwords from the environment, which
	// parallel tests cannot change.
	variables := map[string]string{
		"NATS_SERVER_NAME": "nats-1", "NATS_ROUTES": `["nats://route:` + routePassword + `@127.0.0.1:1","nats://route:` + routePassword + `@127.0.0.1:2"]`,
		"NATS_ROUTE_PASSWORD": routePassword, "NATS_MONITOR_LISTEN": "127.0.0.1:8222",
	}
	for _, role := range roles {
		variables[passwordVariable(role)] = password(role)
	}
	for name, value := range variables {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, "set variable:", err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

// spider is wget --spider of the broker's image, for machines without it: the
// exit code says whether the answer to a GET is 200.
func spider(url string) int {
	client := http.Client{Timeout: 3 * time.Second} // As the health check has it.
	answer, err := client.Get(url)
	if err != nil {
		return 4
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return 8
	}
	return 0
}
