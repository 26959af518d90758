package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/service"
)

// migration is migrate's output as JSON.
type migration struct {
	SchemaVersion int `json:"schema_version"`
}

func (a *app) migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the ledger's schema up to date",
		Long: "Makes or alters the tables of the schema pgcourier in DATABASE_URL. A worker does this\n" +
			"at its start if its login has the right to. Otherwise run this as the schema's owner\n" +
			"after each update, before the workers start; see docs/least-privilege.md.",
		Example: "  pgcourier migrate --database-url-file /run/secrets/owner-dsn",
		Args:    cobra.NoArgs,
	}
	load := a.settingFlags(cmd, ledgerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		return service.WithLedger(cmd.Context(), c, func(ctx context.Context, l *ledger.Ledger, _ *project.Projects) error {
			version, err := l.SchemaVersion(ctx)
			if err != nil {
				return err
			}
			return a.print(migration{version}, fmt.Sprintf("the ledger's schema is at version %d\n", version))
		})
	})
	return cmd
}
