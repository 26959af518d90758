package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/stored"
	"github.com/pgcourier/pgcourier/internal/term"
)

// downloaded is download's output as JSON.
type downloaded struct {
	ID     string `json:"id"`
	Key    string `json:"key"`
	From   string `json:"from"`
	File   string `json:"file"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func (a *app) downloadCommand() *cobra.Command {
	var to string
	var plain, force bool
	cmd := &cobra.Command{
		Use:   "download ID",
		Short: "Fetch a stored export into a file",
		Long: "Fetches an export, checks its size and hash, and only then gives the file its name.\n" +
			"Until then it is FILE.part, from which an interrupted download continues. It needs\n" +
			"neither the broker nor the ledger, and without --plain no identity.\n\n" + idHelp,
		Example: "  pgcourier download nightly-42 --storage file:///var/lib/exports\n" +
			"  pgcourier download acme/nightly-42 -o acme.sql.gz.age\n" +
			"  pgcourier download nightly-42 --plain -i key.txt -o - | less",
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVarP(&to, "to", "o", "", "file to write; - is standard output, after a first reading that checks the export; empty: the export's own name in this folder")
	cmd.Flags().BoolVar(&plain, "plain", false, "decrypt and decompress: the dump as pg_dump wrote it")
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if it exists")
	_ = cmd.MarkFlagFilename("to")
	open, _ := a.readingFlags(cmd)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) (err error) {
		if to == "-" && a.output != "text" {
			return exitf(exitUsage, "--to - writes the export to standard output: leave out --output %s", a.output)
		}
		x, _, err := open()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, x.Close()) }()
		copies, err := a.find(cmd.Context(), x, args[0])
		if err != nil {
			return err
		}
		progress, c := a.progress(), copies[0]
		defer progress.Close()
		out, err := x.Fetch(cmd.Context(), stored.FetchConfig{Copy: c, To: to, Stdout: a.stdout, Force: force, Plain: plain, Progress: progress.Bytes})
		if err != nil || to == "-" {
			return err
		}
		progress.Close()
		return a.print(downloaded{c.ID.String(), c.Key, c.Destination.Name, out.File, out.Bytes, out.SHA256},
			fmt.Sprintf("%s: %d bytes, sha256 %s\n", term.Sanitize(out.File), out.Bytes, out.SHA256))
	})
	return cmd
}
