package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/doctor"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) initCommand() *cobra.Command {
	var x initiation
	var force bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a file of settings, and check them",
		Long: "Writes the settings that it is given, as flags or variables, into the file that every\n" +
			"command reads, for this user only. On a terminal it asks for what is missing. Then it\n" +
			"makes doctor's checks that need no running worker, and names the next command.\n\n" +
			"With --each-schema every schema of the database is a project of the same name. Without\n" +
			"it and PROJECT_QUERY the table control_plane.projects names the projects. --new-key\n" +
			"makes an age key and encrypts exports to it: keep its file away from this machine.",
		Example: "  pgcourier init\n" +
			"  PGCOURIER_DATABASE_URL=postgres://me:secret@db/app pgcourier init --each-schema\n" +
			"  pgcourier init --database-url-file url.txt --storage s3://backups/prod --new-key key.txt",
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&x.file, "config", "", "the file to write [PGCOURIER_CONFIG] (default ~/.config/pgcourier/config)")
	cmd.Flags().BoolVar(&x.eachSchema, "each-schema", false, "every schema of the database is a project of the same name")
	cmd.Flags().StringVar(&x.key, "new-key", "", "make an age key, and write it to this file")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file of settings that is there")
	load := config.Flags(cmd.Flags(), "DATABASE_URL", "PROJECT_QUERY", "NATS_URL", "STORAGE", "DATA_DIR", "AGE_RECIPIENTS")
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) error {
		environ := env.ToMap(a.environ)
		x.file = cmp.Or(x.file, environ[config.Prefix+"CONFIG"], config.DefaultFile(environ))
		if x.file == "" {
			return exitf(exitUsage, "this user has no home folder: name the file with --config")
		}
		if _, err := os.Stat(x.file); err == nil && !force {
			return exitf(exitUsage, "%s is there already: edit it, or replace it with --force", x.file)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return exitf(exitUsage, "--config: %w", err)
		}
		c, err := load(slices.DeleteFunc(slices.Clone(a.environ), namesFile))
		if err != nil {
			return err
		}
		x.database, x.query, x.broker = c.DatabaseURL.Reveal(), c.ProjectQuery, c.NATSURL.Reveal()
		x.storage, x.recipients = strings.Join(c.Storage, ","), c.AgeRecipients
		if cmd.Flags().Changed("data-dir") || environ[config.Prefix+"DATA_DIR"] != "" {
			x.data = c.DataDir
		}
		x.data = cmp.Or(x.data, config.DefaultDataDir(environ), c.DataDir)
		if x.data, err = filepath.Abs(x.data); err != nil {
			return err
		}
		if term.IsTerminal(a.stdin) {
			if err := x.ask(bufio.NewScanner(a.stdin), func(question string) { fmt.Fprint(a.stderr, question) }); err != nil {
				return err
			}
		}
		return a.initiate(cmd.Context(), &x)
	})
	return cmd
}

// namesFile reports whether a variable says where the file of settings is. init does not read it.
func namesFile(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	return slices.Contains([]string{config.Prefix + "CONFIG", "HOME", "XDG_CONFIG_HOME"}, name)
}

// initiation is what init writes.
type initiation struct {
	file, key                              string
	eachSchema                             bool
	database, query, broker, storage, data string
	recipients                             []string
}

// ask asks for the settings that are not given.
func (x *initiation) ask(answers *bufio.Scanner, show func(string)) error {
	questions := []struct {
		ask    bool
		text   string
		answer func(string)
	}{
		{x.database == "", "Database, such as postgres://user:password@host/name: ", func(s string) { x.database = s }},
		{x.query == "" && !x.eachSchema, "Is each schema of it a project? Otherwise the table control_plane.projects names them. [Y/n] ", func(s string) {
			x.eachSchema = !strings.HasPrefix(strings.ToLower(s), "n")
		}},
		{x.broker == "", "Broker, such as nats://host:4222; empty: the worker's own: ", func(s string) { x.broker = s }},
		{x.storage == "", "Storage, such as file:///srv/exports or s3://bucket/prefix; empty: " + filepath.Join(x.data, "exports") + ": ", func(s string) { x.storage = s }},
		{len(x.recipients) == 0 && x.key == "", "File for a new age key, to which exports are encrypted; empty: they are not encrypted: ", func(s string) { x.key = s }},
	}
	for _, q := range questions {
		if !q.ask {
			continue
		}
		show(q.text)
		if !answers.Scan() {
			return exitf(exitUsage, "the input ended before the last question; nothing was written: %w", cmp.Or(answers.Err(), fs.ErrClosed))
		}
		q.answer(strings.TrimSpace(answers.Text()))
	}
	return nil
}

// settings are the lines of the file.
func (x *initiation) settings() [][2]string {
	query := x.query
	if x.eachSchema {
		query = project.EachSchemaQuery
	}
	return [][2]string{
		{"DATABASE_URL", x.database}, {"PROJECT_QUERY", query}, {"NATS_URL", x.broker}, {"DATA_DIR", x.data},
		{"STORAGE", x.storage}, {"AGE_RECIPIENTS", strings.Join(x.recipients, ",")},
	}
}

// initiate writes the files, checks the settings and says what comes next.
func (a *app) initiate(ctx context.Context, x *initiation) error {
	if x.database == "" {
		return exitf(exitUsage, "name the database with PGCOURIER_DATABASE_URL or --database-url-file")
	}
	if x.eachSchema && x.query != "" {
		return exitf(exitUsage, "--each-schema and PROJECT_QUERY exclude each other")
	}
	if x.key != "" {
		text, recipient, err := seal.NewIdentity()
		if err != nil {
			return err
		}
		if err := secret.Create(x.key, text); err != nil {
			return exitf(exitUsage, "--new-key: %w", err)
		}
		x.recipients = append(x.recipients, recipient)
	}
	var lines []string
	for _, s := range x.settings() {
		lines = append(lines, config.Prefix+s[0]+"="+s[1])
	}
	c, err := config.Load(lines, nil)
	if err != nil {
		return config.AsError(err)
	}
	if err := config.WriteFile(x.file, x.settings()); err != nil {
		return err
	}
	only := slices.DeleteFunc(doctor.Names(), func(name string) bool { return name == "drift" || name == "broker" && x.broker == "" })
	found := doctor.Examine(ctx, doctor.Config{Settings: c, Only: only, Timeout: doctor.DefaultTimeout})
	made := struct {
		File   string           `json:"file"`
		Key    string           `json:"key,omitempty"`
		Checks []doctor.Finding `json:"checks"`
	}{x.file, x.key, found}
	text := "\nWritten: " + x.file + "\n"
	if x.key != "" {
		text += "Written: " + x.key + "; without it no export can be read. Keep it elsewhere, and a copy of it.\n"
	}
	wrong := slices.DeleteFunc(slices.Clone(found), func(f doctor.Finding) bool { return f.State == doctor.OK || f.State == doctor.Skipped })
	if len(wrong) > 0 {
		text = doctorText(a.screen(), wrong) + text
	}
	if err := a.print(made, text+"\nNext, once no fault is left:\n  pgcourier serve\n"+
		"and in another terminal:\n  pgcourier request PROJECT --wait\n"); err != nil {
		return err
	}
	return doctorExit(found)
}
