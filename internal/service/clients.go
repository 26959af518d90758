package service

import (
	"context"
	"errors"
	"log/slog"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

// CheckClients checks the client tools for published security faults. It logs them; with
// CLIENT_CHECK=refuse it returns them as a *config.Error.
func CheckClients(ctx context.Context, c config.Config, log *slog.Logger, tools ...string) error {
	if c.ClientCheck == config.ClientsOff {
		return nil
	}
	var dirs []string
	if c.PGBinDir != "" {
		dirs = []string{c.PGBinDir}
	}
	var faults []error
	for _, f := range libpq.Examine(dirs, tools...) {
		if c.ClientCheck == config.ClientsRefuse {
			faults = append(faults, errors.New(f.String()))
			continue
		}
		log.WarnContext(ctx, "client tool with published faults", "finding", f.String())
	}
	return config.AsError(errors.Join(faults...))
}
