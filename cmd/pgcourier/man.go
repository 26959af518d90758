package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the man pages",
		Long:    "Writes a man page for each command into a folder, which is made if it is missing.",
		Example: "  pgcourier man /usr/local/share/man/man1",
		Args:    cobra.ExactArgs(1),
		RunE: coded(func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil { // #nosec G301 -- man pages are public
				return err
			}
			root := cmd.Root()
			unset := time.Time{} // the same pages from the same program, whenever they are made
			err := doc.GenManTree(root, &doc.GenManHeader{Title: "PGCOURIER", Section: "1", Source: "pgcourier " + version, Date: &unset}, args[0])
			if err != nil {
				return fmt.Errorf("write man pages: %w", err)
			}
			return nil
		}),
	}
}

// readyTree gives the commands that cobra adds what ours have too.
func readyTree(root *cobra.Command) {
	root.DisableAutoGenTag = true
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() != "completion" {
			continue
		}
		c.Example = "  pgcourier completion bash >/etc/bash_completion.d/pgcourier"
		for _, shell := range c.Commands() {
			shell.Example = "  pgcourier completion " + shell.Name()
		}
	}
}
