package scratch

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

// Sandbox confines what handles the contents of an export: a dump is a program, and an archive
// is one to a pg_restore with a fault. A nil Sandbox confines nothing.
type Sandbox struct{}

// OpenSandbox looks whether this machine permits sandboxes. mode is the setting SANDBOX. A nil
// Sandbox says that none is to be used, which the log says unless it was asked for. Errors are a
// *config.Error.
func OpenSandbox(ctx context.Context, mode string, log *slog.Logger) (*Sandbox, error) {
	if mode == config.SandboxOff {
		return nil, nil //nolint:nilnil // no sandbox: as the configuration wants it
	}
	err := sandbox.Probe(ctx)
	switch {
	case err == nil:
		return &Sandbox{}, nil
	case mode == config.SandboxRequire:
		return nil, config.Errorf("SANDBOX=require: %w", err)
	default:
		log.WarnContext(ctx, "not sandboxed", "reason", err.Error())
		return nil, nil //nolint:nilnil // no sandbox: the machine does not permit it
	}
}

// Confine returns the Confine of a restore.Config. nil: there is no sandbox.
func (s *Sandbox) Confine() func(*exec.Cmd, restore.Reach) error {
	if s == nil {
		return nil
	}
	return s.tool
}

// server confines a throw-away server to its own folder, without a network.
func (*Sandbox) server(cmd *exec.Cmd, uid, gid uint32, folder string) error {
	b := sandbox.Box{ReadOnly: []string{installation(cmd.Path)}, Writable: []string{folder}, UID: uid, GID: gid}
	return b.Wrap(cmd)
}

// nobody is the user of that name on every Linux, which owns no file.
const nobody = 65534

// tool confines psql to the socket's folder or the network, and pg_restore to its input and
// output, or the folder with it.
func (*Sandbox) tool(cmd *exec.Cmd, reach restore.Reach) error {
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

// installation returns the folder above a program's own: its libraries and shared files are
// there when it is not one of the system's.
func installation(program string) string {
	folder := filepath.Dir(program)
	if above := filepath.Dir(folder); above != "/" { // never the whole machine
		return above
	}
	return folder
}
