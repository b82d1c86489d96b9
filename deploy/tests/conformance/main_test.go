package conformance_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
)

// roles are the users of nats.conf. Each has a password variable of its own.
var roles = []string{"announcer", "backup", "breakglass", "console", "expect", "forget", "gateway", "lookup", "monitor", "normalize", "operator", "sweep", "topology", "viewer"}

func TestMain(m *testing.M) {
	processtest.ServeFillable()
	switch filepath.Base(os.Args[0]) {
	case "wget":
		os.Exit(spider(os.Args[len(os.Args)-1]))
	case "nc":
		os.Exit(netcat(net.JoinHostPort(os.Args[1], os.Args[2])))
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
	testbench.Main(m)
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

// netcat is nc of the broker's image, for machines without it: it sends what it reads,
// and prints what comes back.
func netcat(address string) int {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 1
	}
	defer conn.Close()
	if _, err := io.Copy(conn, os.Stdin); err != nil {
		return 1
	}
	if _, err := io.Copy(os.Stdout, conn); err != nil {
		return 1
	}
	return 0
}
