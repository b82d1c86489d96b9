package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// try reads an archive, unpacks its image and runs what its config says with --version.
// It returns what that printed.
func try(ctx context.Context, archive string) (string, error) {
	folder, err := os.MkdirTemp("", "image-")
	if err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(folder) //nolint:errcheck // A leftover in the temporary folder is not worth failing for.
	return run(ctx, archive, folder, "--version")
}

// run unpacks an archive's image into a folder and runs its entrypoint there. As root it
// runs as the image's user, and with the folder as its root.
func run(ctx context.Context, archive, folder string, args ...string) (string, error) {
	read, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		return "", fmt.Errorf("read archive: %w", err)
	}
	config, err := read.ConfigFile()
	if err = errors.Join(err, unpack(read, folder), os.Chmod(folder, 0o755)); err != nil { //nolint:gosec // The image's user must reach it.
		return "", err
	}
	c := exec.CommandContext(ctx, config.Config.Entrypoint[0], args...)
	c.Env, c.Dir = []string{}, config.Config.WorkingDir
	if os.Getuid() == 0 {
		uid, gid, _ := strings.Cut(config.Config.User, ":")
		u, err := strconv.ParseUint(uid, 10, 32)
		g, wrong := strconv.ParseUint(gid, 10, 32)
		if err = errors.Join(err, wrong); err != nil {
			return "", fmt.Errorf("read user: %w", err)
		}
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: folder, Credential: &syscall.Credential{Uid: uint32(u), Gid: uint32(g)}}
	} else {
		c.Path = filepath.Join(folder, config.Config.Entrypoint[0])
	}
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("run it: %w: %s", err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
