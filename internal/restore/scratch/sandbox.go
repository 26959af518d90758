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

// Sandbox confines the programs that process the contents of an export. A dump is a program, and a
// crafted archive could exploit a fault of pg_restore. A nil Sandbox confines nothing.
type Sandbox struct {
	landlock bool // the weaker one, without namespaces
}

// OpenSandbox checks which sandbox this machine permits. mode is the setting SANDBOX: require takes
// namespaces only, auto, with a warning, Landlock or none (nil). A nil Sandbox is returned for off too.
// Errors are a *config.Error.
func OpenSandbox(ctx context.Context, mode string, log *slog.Logger) (*Sandbox, error) {
	if mode == config.SandboxOff {
		return nil, nil //nolint:nilnil // switched off
	}
	err := sandbox.Probe(ctx)
	switch {
	case err == nil:
		return &Sandbox{}, nil
	case mode == config.SandboxRequire:
		return nil, config.Errorf("SANDBOX=require: %w", err)
	}
	weaker := sandbox.ProbeLandlock(ctx)
	if weaker == nil {
		log.WarnContext(ctx, "psql and pg_restore run in the weaker sandbox of Landlock", "reason", err.Error())
		return &Sandbox{landlock: true}, nil
	}
	log.WarnContext(ctx, "psql and pg_restore run without a sandbox", "reason", err.Error(), "landlock", weaker.Error())
	return nil, nil //nolint:nilnil // no sandbox: the machine does not permit it
}

// Confine returns the function for restore.Config.Confine. nil: no sandbox.
func (s *Sandbox) Confine() func(*exec.Cmd, restore.Reach) error {
	if s == nil {
		return nil
	}
	return s.tool
}

// server confines a temporary server to its own folder, without a network.
func (s *Sandbox) server(cmd *exec.Cmd, uid, gid uint32, folder string) error {
	b := sandbox.Box{ReadOnly: []string{installation(cmd.Path)}, Writable: []string{folder}, UID: uid, GID: gid, Landlock: s.landlock}
	return b.Wrap(cmd)
}

// nobody is the id of the Linux user nobody, which owns no file.
const nobody = 65534

// tool confines psql to the socket's folder or the network, and pg_restore to its input and
// output, or the folder with it.
func (s *Sandbox) tool(cmd *exec.Cmd, reach restore.Reach) error {
	b := sandbox.Box{ReadOnly: []string{installation(cmd.Path)}, Landlock: s.landlock}
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

// installation returns the folder above the program's folder. A program outside of the system's
// folders has its libraries and shared files there.
func installation(program string) string {
	folder := filepath.Dir(program)
	if above := filepath.Dir(folder); above != "/" { // never the whole machine
		return above
	}
	return folder
}
