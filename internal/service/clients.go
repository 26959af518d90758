package service

import (
	"context"
	"errors"
	"log/slog"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

// CheckClients checks the client tools for published security faults. It logs them, and the tools that
// do not say their version; with CLIENT_CHECK=refuse it returns both as a *config.Error.
func CheckClients(ctx context.Context, c config.Config, log *slog.Logger, tools ...string) error {
	if c.ClientCheck == config.ClientsOff {
		return nil
	}
	var dirs []string
	if c.PGBinDir != "" {
		dirs = []string{c.PGBinDir}
	}
	var faults []error
	found, unknown := libpq.Examine(dirs, tools...)
	switch {
	case unknown != nil && c.ClientCheck == config.ClientsRefuse:
		faults = append(faults, unknown)
	case unknown != nil:
		log.WarnContext(ctx, "client tools not examined", "error", unknown)
	}
	for _, f := range found {
		if c.ClientCheck == config.ClientsRefuse {
			faults = append(faults, errors.New(f.String()))
			continue
		}
		log.WarnContext(ctx, "client tool with published faults", "finding", f.String())
	}
	return config.AsError(errors.Join(faults...))
}
