package stored

import (
	"log/slog"

	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/restore/scratch"
)

// RestoreConfig returns what a Restorer needs on this machine, by the settings. in confines its
// tools; nil: nothing does.
func (e *Exports) RestoreConfig(in *scratch.Sandbox, log *slog.Logger) restore.Config {
	c := restore.Config{Logger: log, SpoolDir: e.settings.Spool(), Confine: in.Confine()}
	if e.settings.PGBinDir != "" {
		c.BinDirs = []string{e.settings.PGBinDir}
	}
	return c
}
