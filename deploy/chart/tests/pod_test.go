package chart_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// cluster does for rendered manifests what Kubernetes would do on one machine. It has no
// network of its own for each pod: a process inherits listening sockets, as from systemd,
// instead of opening its ports.
type cluster struct {
	t       *testing.T
	ctx     context.Context
	bin     string                       // The binaries, by the name of the image's last part.
	secrets map[string]map[string]string // The Secrets that the values name, by key.
	objects map[string]manifest
}

// running is a started container.
type running struct {
	role  string
	ports map[string]string // host:port by the name of the container port.
	log   *buffer
	cmd   *exec.Cmd
	ended chan error
	root  string
}

// buffer collects the output of a process.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// environment is what the container's env and envFrom make of the Secrets.
func (c *cluster) environment(container manifest) (all []string) {
	c.t.Helper()
	from, _ := container.at("envFrom").([]any)
	for i := range from {
		name, _ := container.at("envFrom", i, "secretRef", "name").(string)
		if c.secrets[name] == nil {
			c.t.Fatalf("there is no Secret %q", name)
		}
		for key, value := range c.secrets[name] {
			all = append(all, key+"="+value)
		}
	}
	env, _ := container.at("env").([]any)
	for i := range env {
		name, value := container.at("env", i, "name"), container.at("env", i, "value")
		if ref, ok := container.at("env", i, "valueFrom", "secretKeyRef").(map[string]any); ok {
			found, ok := c.secrets[ref["name"].(string)][ref["key"].(string)]
			if !ok {
				c.t.Fatalf("the Secret %v has no key %v", ref["name"], ref["key"])
			}
			value = found
		}
		all = append(all, fmt.Sprintf("%v=%v", name, value))
	}
	return all
}

// folder makes the container's file system: the binary where the image has it, and its
// volumes. Everything belongs to the user of the test, and no other may write.
func (c *cluster) folder(pod, container manifest, binary string) string {
	c.t.Helper()
	dir := filepath.Join(c.t.TempDir(), "root")
	volumes, files, empty := map[string]map[string]string{}, map[string]string{}, map[string]bool{}
	list, _ := pod.at("volumes").([]any)
	for i := range list {
		name, _ := pod.at("volumes", i, "name").(string)
		if empty[name] = pod.at("volumes", i, "emptyDir") != nil; empty[name] {
			continue
		}
		if of, ok := pod.at("volumes", i, "secret", "secretName").(string); ok {
			volumes[name] = c.secrets[of]
		} else {
			of, _ := pod.at("volumes", i, "configMap", "name").(string)
			volumes[name] = map[string]string{}
			data, _ := c.objects["ConfigMap/"+of].at("data").(map[string]any)
			for key, value := range data {
				volumes[name][key] = value.(string)
			}
		}
		if len(volumes[name]) == 0 {
			c.t.Fatalf("the volume %s is empty", name)
		}
	}
	mounts, _ := container.at("volumeMounts").([]any)
	for i := range mounts {
		name, _ := container.at("volumeMounts", i, "name").(string)
		at, _ := container.at("volumeMounts", i, "mountPath").(string)
		if empty[name] {
			c.scratch(filepath.Join(dir, at), pod)
			continue
		}
		if container.at("volumeMounts", i, "readOnly") != true || volumes[name] == nil {
			c.t.Fatalf("%s is no volume, or is not read-only", name)
		}
		for key, value := range volumes[name] {
			files[path.Join(at, key)] = value
		}
	}
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o444)); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, file := range append(libraries(c.t, filepath.Join(c.bin, binary)), filepath.Join(c.bin, binary)) {
		to := filepath.Join(dir, strings.TrimPrefix(file, c.bin))
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), link(file, to)); err != nil {
			c.t.Fatal(err)
		}
	}
	return dir
}

// scratch makes the folder of an emptyDir, which belongs to the group of the pod.
func (c *cluster) scratch(dir string, pod manifest) {
	c.t.Helper()
	err := os.MkdirAll(dir, 0o755)
	if group, ok := pod.at("securityContext", "fsGroup").(float64); ok && err == nil && os.Getuid() == 0 {
		err = errors.Join(os.Chown(dir, 0, int(group)), os.Chmod(dir, 0o775))
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// libraries are what a dynamically linked binary needs beside itself. The image's is
// linked statically; here it is built as for all other tests, so that CI has it already.
func libraries(t *testing.T, binary string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ldd", binary).Output()
	if err != nil {
		return nil // Not a dynamic executable.
	}
	var all []string
	for _, m := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
		all = append(all, m[1])
	}
	return all
}

// link copies a file, without its bytes where the file system can.
func link(from, to string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// run starts the only container of a pod: its arguments, its environment, its user and its
// files. A test that is not root runs it as its own user and without a root folder of its
// own, with the folders in the environment and in the configuration replaced.
func (c *cluster) run(pod manifest) *running {
	c.t.Helper()
	container := manifest{tree: pod.at("containers", 0).(map[string]any)}
	image, _ := container.at("image").(string)
	binary := path.Base(strings.Split(strings.Split(image, "@")[0], ":")[0])
	r := &running{role: container.at("name").(string), ports: map[string]string{}, log: &buffer{}, ended: make(chan error, 1)}
	r.root = c.folder(pod, container, binary)
	var args []string
	list, _ := container.at("args").([]any)
	for _, arg := range list {
		args = append(args, arg.(string))
	}
	env := c.environment(container)
	r.cmd = exec.CommandContext(c.ctx, "/"+binary, args...)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.cmd.Dir = "/"
	user, _ := pod.at("securityContext", "runAsUser").(float64)
	if os.Getuid() == 0 {
		r.cmd.SysProcAttr.Chroot = r.root
		r.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(user), Gid: uint32(user)}
	} else {
		r.cmd.Path = filepath.Join(c.bin, binary)
		for i := range env {
			env[i] = strings.ReplaceAll(env[i], "/etc/arauto", r.root+"/etc/arauto")
		}
		c.replaceRoot(r.root)
	}
	var names []string
	ports, _ := container.at("ports").([]any)
	for i := range ports {
		name, _ := container.at("ports", i, "name").(string)
		socket := listen(c.t)
		r.ports[name] = socket.Addr().String()
		file, err := socket.(*net.TCPListener).File()
		if err != nil {
			c.t.Fatal(err)
		}
		defer file.Close()
		defer socket.Close()
		r.cmd.ExtraFiles = append(r.cmd.ExtraFiles, file)
		names = append(names, strings.NewReplacer("webhooks", r.role, "pages", r.role).Replace(name))
	}
	// What the runtime of containers would do: give it sockets, and end it with the test.
	r.cmd.Env = append(env, fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"), "ARAUTO_STOP_ON_STDIN_EOF=1")
	stdin, err := r.cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	if err := r.cmd.Start(); err != nil {
		c.t.Fatalf("start %s: %v", r.role, err)
	}
	go func() { r.ended <- r.cmd.Wait() }()
	c.t.Cleanup(func() {
		_ = stdin.Close() // Wait may have closed it.
		if c.t.Failed() {
			log := r.log.String()
			c.t.Logf("%s ended with:\n%s", r.role, log[max(0, len(log)-1500):])
		}
	})
	return r
}

// index is the only folder that a container may write to: the console's.
const index = "/var/lib/arauto-console"

// replaceRoot makes the paths of a configuration those of the folder.
func (c *cluster) replaceRoot(dir string) {
	c.t.Helper()
	file := filepath.Join(dir, "etc/arauto/config/arauto.yaml")
	text, err := os.ReadFile(file)
	if err == nil {
		err = errors.Join(os.Remove(file), os.WriteFile(file, []byte(strings.NewReplacer("/etc/arauto", dir+"/etc/arauto", index, dir+index).Replace(string(text))), 0o444))
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// job runs the pod of a Job until it has succeeded, as often as the Job allows.
func (c *cluster) job(id string) {
	c.t.Helper()
	job := c.objects[id]
	again, _ := job.at("spec", "backoffLimit").(float64)
	code, _ := job.at("spec", "podFailurePolicy", "rules", 0, "onExitCodes", "values", 0).(float64)
	pod, final := manifest{tree: job.at("spec", "template", "spec").(map[string]any)}, int(code)
	for range 1 + int(again) {
		r := c.run(pod)
		select {
		case err := <-r.ended:
			if err == nil {
				return
			}
			if r.cmd.ProcessState.ExitCode() == final {
				c.t.Fatalf("the job is not run again: %s", r.log)
			}
			c.t.Logf("the job is run again, %v: %s", err, r.log)
		case <-c.ctx.Done():
			c.t.Fatalf("the job does not end: %s", r.log)
		}
	}
	c.t.Fatal("the job failed as often as it may")
}

// deployments starts every replica of every Deployment, and returns them by role once all
// answer their probes.
func (c *cluster) deployments() map[string][]*running {
	c.t.Helper()
	all := map[string][]*running{}
	containers := map[string]manifest{}
	for id, m := range c.objects {
		if !strings.HasPrefix(id, "Deployment/") {
			continue
		}
		pod := manifest{tree: m.at("spec", "template", "spec").(map[string]any)}
		replicas, _ := m.at("spec", "replicas").(float64)
		for range int(replicas) {
			r := c.run(pod)
			all[r.role] = append(all[r.role], r)
			containers[r.role] = manifest{tree: pod.at("containers", 0).(map[string]any)}
		}
	}
	for role, list := range all {
		for _, r := range list {
			for _, probe := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
				port, _ := containers[role].at(probe, "httpGet", "port").(string)
				c.await(r, "http://"+r.ports[port]+containers[role].at(probe, "httpGet", "path").(string))
			}
		}
	}
	return all
}

// await polls a probe until it is answered with 200.
func (c *cluster) await(r *running, url string) {
	c.t.Helper()
	last := ""
	c.until(r.role+" to answer "+url, func() bool {
		select {
		case err := <-r.ended:
			c.t.Fatalf("%s ended: %v\n%s", r.role, err, r.log)
		default:
		}
		request, err := http.NewRequestWithContext(c.ctx, http.MethodGet, url, nil)
		if err != nil {
			c.t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			last = err.Error()
			return false
		}
		answer.Body.Close()
		last = answer.Status
		return answer.StatusCode == http.StatusOK
	}, &last)
}

// until polls for what no signal announces, within the test's time.
func (c *cluster) until(what string, met func() bool, last *string) {
	c.t.Helper()
	for !met() {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-c.ctx.Done():
			c.t.Fatalf("waited in vain for %s: %s", what, *last)
		}
	}
}

// stop ends a container as Kubernetes does, and wants a clean end within its grace.
func (c *cluster) stop(r *running) {
	c.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Errorf("stop %s: %v", r.role, err)
	}
	select {
	case err := <-r.ended:
		if err != nil {
			c.t.Errorf("%s ended with %v\n%s", r.role, err, r.log)
		}
	case <-c.ctx.Done():
		c.t.Errorf("%s does not end", r.role)
	}
}

// unwritten wants the folder to have the given files and no other.
func unwritten(t *testing.T, r *running) {
	t.Helper()
	var loose []string
	err := filepath.WalkDir(filepath.Join(r.root), func(name string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == r.root+index {
			return filepath.SkipDir
		}
		info, err := entry.Info()
		if err == nil && (info.Mode()&0o022 != 0 || info.Sys().(*syscall.Stat_t).Uid == 65532) {
			loose = append(loose, name)
		}
		return err
	})
	if slices.Sort(loose); err != nil || len(loose) > 0 {
		t.Errorf("%s could write, or wrote: %v, %v", r.role, loose, err)
	}
}
