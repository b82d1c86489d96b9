package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
)

// byHandPorts are the ports that the page names, as they stand.
var byHandPorts = []string{"4222", "8222", "8080", "8090", "9091", "9092", "9093", "9094", "9095", "9096", "8070"}

// TestPageByHandWorksAsItStands runs every command of the page in one shell, in an empty
// folder, only with ports of its own.
func TestPageByHandWorksAsItStands(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(root + "deploy/BYHAND.md")
	testbench.Must(t, err)
	free := processtest.FreePorts(t, len(byHandPorts))
	var pairs []string
	for i, port := range byHandPorts {
		pairs = append(pairs, port, fmt.Sprint(free[i]))
	}
	ports := strings.NewReplacer(pairs...)
	script := "set -e\ntrap 'kill $(jobs -p) 2> /dev/null; wait' EXIT\n"
	blocks := regexp.MustCompile("(?ms)^```bash\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	for _, block := range blocks {
		script += ports.Replace(block[1])
	}
	folder := t.TempDir()
	testbench.Must(t, os.Symlink(bin, filepath.Join(folder, "bin")))
	testbench.Must(t, os.Mkdir(filepath.Join(folder, "deploy"), 0o700))
	for _, name := range []string{"nats.conf", "subscribers.conf"} {
		text, err := os.ReadFile(root + "deploy/" + name)
		testbench.Must(t, err)
		testbench.Must(t, os.WriteFile(filepath.Join(folder, "deploy", name), []byte(ports.Replace(string(text))), 0o600))
	}
	// The simulator listens and sends where its flags say.
	script = strings.Replace(script, "bin/simulator ", fmt.Sprintf("bin/simulator -listen 127.0.0.1:%d -gateway http://127.0.0.1:%d ", free[3], free[2]), 1)
	shell := exec.CommandContext(testbench.Context(t), "bash", "-c", script)
	shell.Dir = folder
	out, err := shell.CombinedOutput()
	for _, want := range []string{"nothing needs a person", "event         ? -> paid, transition 1", "HTTP/1.1 200"} {
		if err != nil || !strings.Contains(string(out), want) {
			logs := ""
			for _, name := range []string{"nats", "simulator", "gateway", "lookup", "normalize", "sweep", "expect", "console"} {
				log, _ := os.ReadFile(filepath.Join(folder, "by-hand", name+".log")) // What did not start has none.
				logs += name + ":\n" + string(log[max(0, len(log)-2000):])
			}
			t.Fatalf("%q is not in what the page printed, %v:\n%s\n%s", want, err, out, logs)
		}
	}
}
