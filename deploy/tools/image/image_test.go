package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// program says who runs it, and whether it may do what no image should.
const program = `package main

import ("fmt"; "os")

func main() {
	roots, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	fmt.Println(os.Args, os.Getuid(), os.Getgid(), len(roots), err, os.WriteFile("/new", nil, 0o600) != nil)
}
`

// static builds the program as make image builds the roles.
func static(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "role")
	must(t, os.WriteFile(source, []byte(program), 0o600))
	c := exec.CommandContext(t.Context(), "go", "build", "-o", binary, source)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestImageRunsItsBinaryWithoutRights(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	roots := filepath.Join(dir, "roots.pem")
	must(t, os.WriteFile(roots, []byte("0123456789"), 0o600))
	o := options{repository: "registry.example.com/arauto", tag: "v1", out: dir, roots: roots, architecture: runtime.GOARCH}
	binary := static(t)
	said, err := write(t.Context(), o, binary)
	must(t, err)
	archive := filepath.Join(dir, "role.tar")
	read, err := tarball.ImageFromPath(archive, nil)
	must(t, err)
	config, err := read.ConfigFile()
	must(t, err)
	if want := (v1.Config{User: "65532:65532", Entrypoint: []string{"/role"}, WorkingDir: "/"}); !reflect.DeepEqual(config.Config, want) {
		t.Errorf("the config is %+v, want %+v", config.Config, want)
	}
	if config.OS != "linux" || config.Architecture != runtime.GOARCH || config.Created.Unix() != 0 {
		t.Errorf("it is for %s/%s of %v", config.OS, config.Architecture, config.Created)
	}
	user := "65532 65532"
	if os.Getuid() != 0 {
		t.Log("not root: the binary runs as the user of this test, and with this machine's roots")
		user = fmt.Sprint(os.Getuid(), os.Getgid())
	} else if want := "[/role --version] " + user + " 10 <nil> true"; !strings.Contains(said, want) {
		t.Errorf("the command says %q, want %q", said, want)
	}
	out, err := run(t.Context(), archive, filepath.Join(dir, "unpacked"), "--anything")
	if want := "--anything] " + user; err != nil || !strings.Contains(out, want) {
		t.Errorf("the unpacked binary says %q, want %q, %v", out, want, err)
	}
	manifest, err := tarball.LoadManifest(opener(archive))
	if err != nil || len(manifest) != 1 || !reflect.DeepEqual(manifest[0].RepoTags, []string{"registry.example.com/arauto/role:v1"}) {
		t.Errorf("the archive has %+v, %v", manifest, err)
	}
}

func TestSameBinaryMakesTheSameImage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	binary, other := filepath.Join(dir, "role"), filepath.Join(dir, "other", "role")
	must(t, os.Mkdir(filepath.Join(dir, "other"), 0o700))
	for file, text := range map[string]string{binary: "a", other: "b"} {
		must(t, os.WriteFile(file, []byte(text), 0o600))
	}
	o := options{roots: binary, architecture: "amd64"}
	digests := map[string]bool{}
	for _, file := range []string{binary, binary, other} {
		made, err := image(o, file)
		must(t, err)
		digest, err := made.Digest()
		must(t, err)
		digests[digest.String()] = true
	}
	if len(digests) != 2 {
		t.Errorf("two binaries made %d images", len(digests))
	}
}

func opener(file string) tarball.Opener {
	return func() (io.ReadCloser, error) { return os.Open(file) }
}
