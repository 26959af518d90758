package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/service"
)

func (a *app) recoverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Rebuild the ledger from what is stored",
		Long: "Reads the manifest of every stored export and records the requests that the ledger\n" +
			"does not know, with their outcomes; it makes the ledger's schema if it is gone. Rows\n" +
			"that exist are never changed, so it may be repeated. Failed requests left nothing in\n" +
			"the storage, so they are not recovered. It needs no broker, publishes nothing and\n" +
			"issues no links. Tokens and rules of retention are not in the storage: run `pgcourier\n" +
			"apply` before a pruner starts, or PGCOURIER_RETENTION decides for all.\n\n" +
			"A manifest that cannot be used is reported and makes the exit code 4 (2 when only an\n" +
			"identity is missing); all others are recovered.",
		Example: "  pgcourier recover --storage file:///var/lib/exports --database-url-file /run/secrets/dsn\n" +
			"  pgcourier recover --storage telegram://-1001234567890 -i key.txt",
		Args: cobra.NoArgs,
	}
	open, _ := a.readingFlags(cmd, ledgerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) (err error) {
		x, c, err := open()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, x.Close()) }()
		return service.WithLedger(cmd.Context(), c, func(ctx context.Context, led *ledger.Ledger, _ *project.Projects) error {
			out, faults, err := x.Recover(ctx, led)
			if err != nil {
				return err
			}
			if err := a.print(out, out.Text()); err != nil || len(faults) == 0 {
				return err
			}
			return worst(faults)
		})
	})
	return cmd
}
