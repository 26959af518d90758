package main

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/sandbox"
)

// cells are the sandboxes of what handles the contents of an export: a dump is a program,
// and so is an archive to a pg_restore with a fault.
type cells struct{}

// openCells looks whether this machine permits sandboxes. nil: none are to be used, which
// the log says unless it was asked for.
func openCells(ctx context.Context, c config.Config, log *slog.Logger) (*cells, error) {
	if c.Sandbox == config.SandboxOff {
		return nil, nil //nolint:nilnil // no cells: as the configuration wants it
	}
	err := sandbox.Probe(ctx)
	switch {
	case err == nil:
		return &cells{}, nil
	case c.Sandbox == config.SandboxRequire:
		return nil, exitf(exitUsage, "SANDBOX=require: %w", err)
	default:
		log.WarnContext(ctx, "not sandboxed", "reason", err.Error())
		return nil, nil //nolint:nilnil // no cells: the machine does not permit them
	}
}

// server confines a throw-away server to its own folder, without a network.
func (*cells) server(cmd *exec.Cmd, uid, gid uint32, folder string) error {
	b := sandbox.Box{ReadOnly: []string{installation(cmd.Path)}, Writable: []string{folder}, UID: uid, GID: gid}
	return b.Wrap(cmd)
}

// nobody is the user of that name on every Linux, which owns no file.
const nobody = 65534

// tool confines psql to the socket's folder or the network, and pg_restore to its input and
// output, or the folder with it.
func (*cells) tool(cmd *exec.Cmd, reach restore.Reach) error {
	b := sandbox.Box{ReadOnly: []string{installation(cmd.Path)}}
	if os.Geteuid() == 0 {
		b.UID, b.GID = nobody, nobody
	}
	if reach.Folder != "" { // only its owner may read it
		b.ReadOnly, b.UID, b.GID = append(b.ReadOnly, reach.Folder), 0, 0
	}
	if to := reach.Server; to != nil {
		if socket := filepath.IsAbs(to.Host); socket {
			b.Writable = append(b.Writable, to.Host)
		} else {
			b.Network = true
		}
	}
	for _, v := range cmd.Env {
		name, path, _ := strings.Cut(v, "=")
		if slices.Contains([]string{"PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"}, name) && filepath.IsAbs(path) {
			b.ReadOnly = append(b.ReadOnly, path)
			if name == "PGSSLKEY" { // only its owner may read it
				b.UID, b.GID = 0, 0
			}
		}
	}
	return b.Wrap(cmd)
}

// installation is the folder above the one of a program: its libraries and shared files are
// there when it is not one of the system's.
func installation(program string) string {
	folder := filepath.Dir(program)
	if above := filepath.Dir(folder); above != "/" { // never the whole machine
		return above
	}
	return folder
}
