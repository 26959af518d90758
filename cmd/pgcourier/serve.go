package main

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/api/console"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/doctor"
	"github.com/pgcourier/pgcourier/internal/sandbox"
	"github.com/pgcourier/pgcourier/internal/service"
)

func (a *app) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a worker",
		Long: "Takes requests from the broker and exports until told to stop. Without\n" +
			"PGCOURIER_NATS_URL it also runs an embedded broker on 127.0.0.1.\n\n" +
			"SIGTERM, SIGHUP or Ctrl-C lets running exports finish, at most DRAIN_TIMEOUT; a second\n" +
			"SIGTERM or Ctrl-C ends the process at once (exit code 143 or 130), and another worker\n" +
			"takes over. Settings are read at the start only: no signal reads them again.",
		Example: "  PGCOURIER_DATABASE_URL=postgres://user:secret@db/platform pgcourier serve\n" +
			"  pgcourier serve --database-url-file /run/secrets/dsn --concurrency 4 --roles worker",
		Args: cobra.NoArgs,
	}
	load := a.settingFlags(cmd)
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		setNondumpable(cmd.Context(), c, a.logger(c))
		warnOfOpenFolder(cmd.Context(), c.DataDir, a.logger(c))
		setGCPercent()
		// Go's exit code after a panic, or a watchdog's SIGABRT, is 2: that of a wrong setting, with which
		// nothing starts the process again. With "crash" it ends by SIGABRT, after the same output.
		debug.SetTraceback("crash")
		return service.Serve(cmd.Context(), service.Config{Settings: c, Version: version, Examine: examination(c), Log: a.logger(c)})
	})
	return cmd
}

// examination returns the checks of the console: those of doctor that hold for the role api, which has
// neither the workers' client tools nor their rights to the storage.
func examination(c config.Config) func(context.Context) []console.Finding {
	return func(ctx context.Context) []console.Finding {
		found := doctor.Examine(ctx, doctor.Config{Settings: c, Only: []string{"database", "projects", "broker", "disk", "keys", "retention", "notify"}})
		out := make([]console.Finding, len(found))
		for i, f := range found {
			out[i] = console.Finding{Check: f.Check, State: string(f.State), Found: f.Found, Fix: f.Fix}
		}
		return out
	}
}

// setNondumpable hides this process from others of its user. A verifier that is not root stays as
// it is: it could make no sandbox.
func setNondumpable(ctx context.Context, c config.Config, log *slog.Logger) {
	if os.Geteuid() != 0 && c.Sandbox != config.SandboxOff && (c.Serves(config.RoleVerifier) || c.Serves(config.RoleRestorer)) {
		return
	}
	if err := sandbox.SetNondumpable(); err != nil {
		log.WarnContext(ctx, "other processes of this user can read the memory of this process", "error", err)
	}
}

// setGCPercent lowers GOGC to 50: most live memory is reused buffers, and an export allocates
// little beside them. GOGC, if set, wins.
func setGCPercent() {
	const garbage = 50 // percent; Go's default is 100
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
}

// warnOfOpenFolder warns when all users may write to the data folder: its files are closed to
// others, but others could replace them. Write access for a group is not reported: volumes are
// handed to a container's group that way.
func warnOfOpenFolder(ctx context.Context, dir string, log *slog.Logger) {
	const writable = 0o002
	info, err := os.Stat(dir)
	if err == nil && info.Mode()&writable != 0 && info.Mode()&fs.ModeSticky == 0 {
		log.WarnContext(ctx, "every user of this machine can replace files in the data folder: remove the right of others to write (chmod o-w)",
			"path", dir, "mode", info.Mode().Perm().String())
	}
}
