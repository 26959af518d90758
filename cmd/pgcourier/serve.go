package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func (a *app) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a worker",
		Long: "Takes requests from the broker and exports until told to stop. Without\n" +
			"PGCOURIER_NATS_URL it also runs an embedded broker on 127.0.0.1.\n\n" +
			"SIGTERM or Ctrl-C lets running exports finish, at most DRAIN_TIMEOUT; a second one\n" +
			"ends the process at once, and another worker takes over.",
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
		hide(cmd.Context(), c, a.logger(c))
		w, err := openWorker(cmd.Context(), c, a.logger(c))
		if err != nil {
			return err
		}
		return errors.Join(w.run(cmd.Context()), w.close())
	})
	return cmd
}
