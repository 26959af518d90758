package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/user"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/stored"
	"github.com/pgcourier/pgcourier/internal/telemetry"
	"github.com/pgcourier/pgcourier/internal/term"
)

// version is set by the linker.
var version = "dev"

// process is what a command sees of the world around it.
type process struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// app is what all subcommands share.
type app struct {
	process
	output string // text or json
}

func newRoot(p process) *cobra.Command {
	a := &app{process: p}
	root := &cobra.Command{
		Use:   "pgcourier",
		Short: "Event-driven PostgreSQL exports",
		Long: "pgcourier exports the schemas of one project of a multi-tenant PostgreSQL platform\n" +
			"when a backup.requested event asks for it, and announces exactly one outcome.\n\n" +
			"Each setting is an environment variable PGCOURIER_NAME, or a flag of the same name.\n" +
			exitCodesText(),
		Example: "  pgcourier demo                      # request, export, recover and restore on a temporary database\n" +
			"  pgcourier serve                     # a worker, with an embedded broker if none is named\n" +
			"  pgcourier request acme --wait       # ask for an export and wait for its outcome\n" +
			"  pgcourier watch                     # see what runs",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.output != "text" && a.output != "json" {
				return exitf(exitUsage, "--output: %q is not text or json", a.output)
			}
			return nil
		},
	}
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.PersistentFlags().StringVar(&a.output, "output", "text", "what to print: text or json")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(a.initCommand(), a.serveCommand(), a.applyCommand(), a.requestCommand(), a.watchCommand(), a.listCommand(), a.showCommand(), a.replayCommand(), a.cancelCommand(),
		a.healthCommand(), a.doctorCommand(), a.manCommand(), a.demoCommand(), a.notificationsCommand(), with(a.scheduleCommand(), a.scheduleListCommand()),
		a.downloadCommand(), a.verifyCommand(), a.asEvent(a.restoreCommand()), a.cloneCommand(), a.recoverCommand(), a.rmCommand(), a.pruneCommand(), with(a.storageCommand(), a.storageAdoptCommand()), a.migrateCommand(), a.brokerCommand(), a.tokenCommand(), with(a.receiptCommand(), a.receiptVerifyCommand()), a.linkCommand())
	readyTree(root)
	if width := a.screen().Width; width > 0 { // cobra's own template never breaks a line
		root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages ", ".FlagUsagesWrapped "+strconv.Itoa(width)+" "))
	}
	return root
}

// The settings that a group of commands takes as flags.
var (
	brokerSettings = []string{"NATS_URL", "NATS_CREDS", "NATS_NKEY", "NATS_KEYS", "NATS_INBOX_PREFIX", "NATS_TLS_CA", "NATS_TLS_CERT", "NATS_TLS_KEY", "NATS_TLS_FIRST", "NATS_DOMAIN", "NATS_API_PREFIX", "DATA_DIR"}
	ledgerSettings = []string{"DATABASE_URL"}
)

// with adds commands below cmd.
func with(cmd *cobra.Command, below ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(below...)
	return cmd
}

// settingFlags gives cmd a flag for each named setting, all of them if none is named, and
// returns the function that reads the configuration with those flags over it.
func (a *app) settingFlags(cmd *cobra.Command, names ...string) func() (config.Config, error) {
	load := config.Flags(cmd.Flags(), names...)
	return func() (config.Config, error) { return load(a.environ) }
}

// logger writes to standard error, so that standard output holds results only.
func (a *app) logger(c config.Config) *slog.Logger {
	return telemetry.NewLogger(a.stderr, c.LogLevel, c.LogFormat)
}

// quietLogger writes errors only, for a command that says the rest itself.
func (a *app) quietLogger(c config.Config) *slog.Logger {
	return telemetry.NewLogger(a.stderr, "error", c.LogFormat)
}

// print writes a result to standard output: v as JSON, or its text.
func (a *app) print(v any, text string) error {
	if a.output == "json" {
		return term.WriteJSON(a.stdout, v)
	}
	_, err := io.WriteString(a.stdout, text)
	return err
}

// screen describes standard output.
func (a *app) screen() term.Screen { return term.Open(a.stdout, a.environ) }

// progress draws on standard error, so that standard output holds the result only.
func (a *app) progress() *term.Progress { return term.NewProgress(a.stderr, a.environ) }

// await returns a request's outcome, and shows its events until then unless the output is JSON.
func (a *app) await(ctx context.Context, client *events.Client, project, id string) (events.Outcome, error) {
	w := a.stdout
	if a.output == "json" {
		w = io.Discard
	}
	view := term.NewEvents(w, a.environ, false)
	defer view.Close()
	return view.Follow(ctx, client, project, id)
}

// delegate runs another command in the place of cmd, with those of the given flags that it has.
func delegate(cmd *cobra.Command, args []string, path ...string) error {
	to, _, err := cmd.Root().Find(path)
	if err != nil {
		return err
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		other := to.Flags().Lookup(f.Name)
		if other == nil || other == f {
			return
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			err = errors.Join(err, other.Value.(pflag.SliceValue).Replace(list.GetSlice()))
		} else {
			err = errors.Join(err, other.Value.Set(f.Value.String()))
		}
		other.Changed = true
	})
	if err != nil {
		return err
	}
	to.SetContext(cmd.Context())
	return to.RunE(to, args)
}

// idHelp says how exports are named on the command line.
const idHelp = "ID is a request id, PROJECT/REQUEST, or an export's key in the storage."

// readingFlags gives cmd the flags of a command that reads exports, and more settings. The
// returned function opens the exports; the command closes them. from is the flag --from.
func (a *app) readingFlags(cmd *cobra.Command, settings ...string) (open func() (*stored.Exports, config.Config, error), from *string) {
	load := a.settingFlags(cmd, append([]string{"STORAGE", "DATA_DIR", "TELEGRAM_TOKEN", "AGE_IDENTITY_FILE"}, settings...)...)
	identities := cmd.Flags().StringArrayP("identity", "i", nil, "age identity file or SSH private key; may be repeated; as --age-identity-file")
	from = cmd.Flags().String("from", "", "only this destination of STORAGE, as events name it: file, s3, telegram, s3-2 ...")
	_ = cmd.MarkFlagFilename("identity")
	return func() (*stored.Exports, config.Config, error) {
		c, err := load()
		if err != nil {
			return nil, c, err
		}
		x, err := stored.Open(stored.Config{Settings: c, Identities: *identities, From: *from, Log: a.logger(c)})
		return x, c, err
	}, from
}

// find returns the copies of the export that id means. It warns of destinations that could not
// be asked.
func (a *app) find(ctx context.Context, x *stored.Exports, id string) ([]destinations.Copy, error) {
	copies, unread, err := x.Find(ctx, id)
	if unread != nil {
		fmt.Fprintf(a.stderr, "pgcourier: warning: %v\n", unread)
	}
	return copies, err
}

// userName returns the name of the operating system's user; empty: unknown.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}
