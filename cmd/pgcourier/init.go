package main

import (
	"cmp"
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

// newSettings are what init writes.
type newSettings struct {
	file, key, database, query, broker, keys, storage, recipients, data string
	eachSchema                                                          bool
}

func (a *app) initCommand() *cobra.Command {
	var x newSettings
	var force bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a file of settings, and check them",
		Long: "Writes the settings that it is given, as flags or variables, into the file that every\n" +
			"command reads, for this user only. On a terminal it asks for what is missing. Then it\n" +
			"makes doctor's checks that need no running worker, and names the next command.\n\n" +
			"With --each-schema every schema of the database is a project of the same name. Without\n" +
			"it and PROJECT_QUERY the table control_plane.projects names the projects. --new-key\n" +
			"makes an age key and encrypts exports to it: keep its file away from this machine. For a\n" +
			"broker of your own the folder keys beside the file, if it is there, becomes NATS_KEYS.",
		Example: "  pgcourier init\n" +
			"  PGCOURIER_DATABASE_URL=postgres://me:secret@db/app pgcourier init --each-schema\n" +
			"  pgcourier init --database-url-file url.txt --storage s3://backups/prod --new-key key.txt",
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&x.file, "config", "", "the file to write [PGCOURIER_CONFIG] (default ~/.config/pgcourier/config)")
	f.BoolVar(&x.eachSchema, "each-schema", false, "every schema of the database is a project of the same name")
	f.StringVar(&x.key, "new-key", "", "make an age key, and write it to this file")
	f.BoolVar(&force, "force", false, "replace a file of settings that is there")
	f.StringSlice("only", nil, "make only these of doctor's checks (default: all that need no running worker)")
	load := config.Flags(f, "DATABASE_URL", "PROJECT_QUERY", "NATS_URL", "NATS_KEYS", "STORAGE", "DATA_DIR", "AGE_RECIPIENTS")
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
		x.keys = c.NATSKeys
		x.storage, x.recipients = strings.Join(c.Storage, ","), strings.Join(c.AgeRecipients, ",")
		if f.Changed("data-dir") || environ[config.Prefix+"DATA_DIR"] != "" {
			x.data = c.DataDir
		}
		if x.data, err = filepath.Abs(cmp.Or(x.data, config.DefaultDataDir(environ), c.DataDir)); err != nil {
			return err
		}
		if term.IsTerminal(a.stdin) {
			if err := term.Ask(a.stdin, a.stderr, x.questions()); err != nil {
				return exitf(exitUsage, "%w; nothing was written", err)
			}
		}
		if err := x.write(); err != nil {
			return err
		}
		fmt.Fprintf(a.stderr, "pgcourier: wrote %s\n", x.file)
		if x.key != "" {
			fmt.Fprintf(a.stderr, "pgcourier: wrote %s; without it no export can be read: move it to another machine, and keep a copy\n", x.key)
		}
		if !f.Changed("only") {
			checks := slices.DeleteFunc(doctor.Names(), func(name string) bool { return name == "drift" || name == "broker" && x.broker == "" })
			if err := f.Set("only", strings.Join(checks, ",")); err != nil {
				return err
			}
		}
		err = delegate(cmd, nil, "doctor")
		fmt.Fprint(a.stderr, "\nNext, once no fault is left:\n  pgcourier serve\nand in another terminal:\n  pgcourier request PROJECT --wait\n")
		return err
	})
	return cmd
}

// namesFile reports whether a variable says where the file of settings is. init does not read it.
func namesFile(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	return slices.Contains([]string{config.Prefix + "CONFIG", "HOME", "XDG_CONFIG_HOME"}, name)
}

// questions are those for the settings that are not given.
func (x *newSettings) questions() (all []term.Question) {
	ask := func(missing bool, text string, answer func(string)) {
		if missing {
			all = append(all, term.Question{Text: text, Answer: answer})
		}
	}
	ask(x.database == "", "Database, such as postgres://user:password@host/name: ", func(s string) { x.database = s })
	ask(x.query == "" && !x.eachSchema, "Is each schema of it a project? Otherwise the table control_plane.projects names them. [Y/n] ",
		func(s string) { x.eachSchema = !strings.HasPrefix(strings.ToLower(s), "n") })
	ask(x.broker == "", "Broker, such as nats://host:4222; empty: the worker's own: ", func(s string) { x.broker = s })
	ask(x.storage == "", "Storage, such as file:///srv/exports or s3://bucket/prefix; empty: "+filepath.Join(x.data, "exports")+": ", func(s string) { x.storage = s })
	ask(x.recipients == "" && x.key == "", "File for a new age key, to which exports are encrypted; empty: they are not encrypted: ", func(s string) { x.key = s })
	return all
}

// write writes the file, and the key if one is wanted.
func (x *newSettings) write() error {
	if x.database == "" {
		return exitf(exitUsage, "name the database with PGCOURIER_DATABASE_URL or --database-url-file")
	}
	if x.eachSchema {
		if x.query != "" {
			return exitf(exitUsage, "--each-schema and PROJECT_QUERY exclude each other: set one of them")
		}
		x.query = project.EachSchemaQuery
	}
	keys := filepath.Join(filepath.Dir(x.file), "keys")
	if info, err := os.Stat(keys); err == nil && info.IsDir() && x.broker != "" && x.keys == "" {
		x.keys = keys
	}
	if x.key != "" {
		text, recipient, err := seal.NewIdentity()
		if err != nil {
			return err
		}
		if err := secret.Create(x.key, text); err != nil {
			return exitf(exitUsage, "--new-key: %w", err)
		}
		x.recipients = strings.TrimPrefix(x.recipients+","+recipient, ",")
	}
	return config.WriteFile(x.file, [][2]string{
		{"DATABASE_URL", x.database}, {"PROJECT_QUERY", x.query}, {"NATS_URL", x.broker}, {"NATS_KEYS", x.keys}, {"DATA_DIR", x.data},
		{"STORAGE", x.storage}, {"AGE_RECIPIENTS", x.recipients},
	})
}
