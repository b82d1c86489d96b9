// Command image writes images of static binaries without a container engine: one archive
// each, which docker load, podman load and ctr images import read. An image has what
// deploy/Dockerfile gives it: the binary, the roots of TLS, and a user without rights.
//
//	image -tag v1 -out bin/images bin/static/gateway bin/static/lookup
//
// Each archive is read again, unpacked, and its binary run with --version, where it is one
// of this machine's architecture.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	o := options{}
	flag.StringVar(&o.repository, "repository", "arauto", "first `part` of the images' names: an image is called <repository>/<binary>")
	flag.StringVar(&o.tag, "tag", "latest", "`tag` of the images")
	flag.StringVar(&o.out, "out", "bin/images", "`folder` of the archives")
	flag.StringVar(&o.roots, "roots", "/etc/ssl/certs/ca-certificates.crt", "`file` with the roots of TLS")
	flag.StringVar(&o.architecture, "arch", runtime.GOARCH, "`architecture` of the binaries, as in GOARCH")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "image: name the binaries")
		os.Exit(2)
	}
	for _, binary := range flag.Args() {
		line, err := write(context.Background(), o, binary)
		if err != nil {
			fmt.Fprintln(os.Stderr, "image:", err)
			os.Exit(1)
		}
		fmt.Println(line)
	}
}

// options are the command line.
type options struct{ repository, tag, out, roots, architecture string }

// write makes the archive of a binary, checks it, and says what it is.
func write(ctx context.Context, o options, binary string) (string, error) {
	role := filepath.Base(binary)
	tag, err := name.NewTag(o.repository + "/" + role + ":" + o.tag)
	if err != nil {
		return "", fmt.Errorf("name image: %w", err)
	}
	made, err := image(o, binary)
	if err != nil {
		return "", fmt.Errorf("make image of %s: %w", role, err)
	}
	digest, err := made.Digest()
	file := filepath.Join(o.out, role+".tar")
	if err = errors.Join(err, os.MkdirAll(o.out, 0o755)); err == nil { //nolint:gosec // Everyone may read an image.
		err = tarball.WriteToFile(file, tag, made)
	}
	if err != nil {
		return "", fmt.Errorf("write %s: %w", file, err)
	}
	says := "not run: it is for " + o.architecture
	if o.architecture == runtime.GOARCH {
		if says, err = try(ctx, file); err != nil {
			return "", fmt.Errorf("try %s: %w", file, err)
		}
	}
	return fmt.Sprintf("%s %s %s\n  %s", file, tag, digest, says), nil
}
