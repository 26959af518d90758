package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/demo"
)

func (a *app) demoCommand() *cobra.Command {
	kind := "file"
	var dir string
	var console bool
	var size int
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Request, export, recover and restore on a temporary database",
		Long: "Starts a temporary PostgreSQL cluster, an embedded broker and a worker, requests\n" +
			"exports as a gateway would, drops the ledger and recovers it from the storage, restores\n" +
			"what is stored into an empty database and compares every table. Afterwards it removes\n" +
			"everything except the exports.\n\n" +
			"It needs PostgreSQL's server binaries: `make postgres` installs them where permitted.",
		Example: "  pgcourier demo\n  pgcourier demo --size 2000000",
		Args:    cobra.NoArgs,
	}
	if kinds := demo.Kinds(); len(kinds) > 1 {
		cmd.Flags().StringVar(&kind, "storage", kind, "where the exports are kept: "+strings.Join(kinds, ", ")+"; what is not file is a test server in this process")
		_ = cmd.RegisterFlagCompletionFunc("storage", cobra.FixedCompletions(kinds, cobra.ShellCompDirectiveNoFileComp))
	}
	cmd.Flags().StringVar(&dir, "dir", "pgcourier-data/demo", "folder for the exports; files of an earlier demo there are removed")
	cmd.Flags().BoolVar(&console, "console", false, "at the end serve the web console, and print its address, a link that logs in once and a token, until Ctrl-C")
	cmd.Flags().IntVar(&size, "size", 1_200_000, "rows of the large project; each is about 260 bytes in the dump")
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) error {
		if kinds := demo.Kinds(); !slices.Contains(kinds, kind) {
			return exitf(exitUsage, "--storage: %q is not one of %s", kind, strings.Join(kinds, ", "))
		}
		if a.output != "text" {
			return exitf(exitUsage, "demo prints text only: it has no --output %s", a.output)
		}
		return demo.Run(cmd.Context(), demo.Config{
			Storage: kind, Dir: dir, Size: size, Console: console, Version: version, Environ: a.environ, Stdout: a.stdout, Stderr: a.stderr,
		})
	})
	return cmd
}
