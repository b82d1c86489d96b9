package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// user is in no list of users and owns nothing, as in deploy/Dockerfile.
const user = "65532:65532"

// rootsPath is where Go looks for the roots of TLS.
const rootsPath = "etc/ssl/certs/ca-certificates.crt"

// image makes the image of a static binary. The same inputs make the same image: no file
// in it has a time.
func image(o options, binary string) (v1.Image, error) {
	role := filepath.Base(binary)
	files := []struct {
		name, from string
		mode       int64
	}{{rootsPath, o.roots, 0o444}, {role, binary, 0o555}}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, folder := range []string{"etc/", "etc/ssl/", "etc/ssl/certs/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder, Mode: 0o755, Format: tar.FormatPAX}); err != nil {
			return nil, fmt.Errorf("write folder: %w", err)
		}
	}
	for _, f := range files {
		data, err := os.ReadFile(f.from)
		if err != nil {
			return nil, fmt.Errorf("read what goes into it: %w", err)
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(data)), Format: tar.FormatPAX}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("write header: %w", err)
		}
		if _, err := w.Write(data); err != nil {
			return nil, fmt.Errorf("write file: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("end layer: %w", err)
	}
	packed, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	made, err := mutate.AppendLayers(empty.Image, packed)
	if err != nil {
		return nil, fmt.Errorf("add layer: %w", err)
	}
	file, err := made.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", o.architecture, v1.Time{Time: time.Unix(0, 0).UTC()}
	file.Config = v1.Config{User: user, Entrypoint: []string{"/" + role}, WorkingDir: "/"}
	made, err = mutate.ConfigFile(made, file)
	if err != nil {
		return nil, fmt.Errorf("write config: %w", err)
	}
	return made, nil
}

// unpack writes the files of an image's layers into a folder.
func unpack(image v1.Image, folder string) error {
	layers := mutate.Extract(image)
	defer layers.Close() //nolint:errcheck // Only read from.
	for r := tar.NewReader(layers); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
		to := filepath.Join(folder, filepath.Clean("/"+header.Name))
		switch header.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(to, 0o755) //nolint:gosec // As in the image.
		case tar.TypeReg:
			var data []byte
			if data, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(to, data, header.FileInfo().Mode())
			}
		default:
			err = errors.New("it is neither a file nor a folder")
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", header.Name, err)
		}
	}
}
