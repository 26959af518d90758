package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/controlplane"
	"github.com/pgcourier/pgcourier/internal/doctor"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/term"
)

// examination is what one run of doctor looks at, and with what.
type examination struct {
	config   config.Config
	projects []string // to look at; none: those that were exported of late
	drift    bool     // hold the storage against the ledger
	sendTest bool     // post a test to each channel of the notifier
	secrets  []string // files that hold secrets, beside those that the configuration names
	now      func() time.Time

	log    *slog.Logger  // of what is used: everything worth saying is a finding
	pool   *pgxpool.Pool // of the control plane; nil: see poolErr
	dbless error         // why there is no pool

	mu     sync.Mutex
	drifts map[string]drift // by the check's name
}

// examined is a finding as JSON: that of drift names the objects.
type examined struct {
	doctor.Finding
	drift
}

// doctorChecks are the names for --only, in the order of the table.
var doctorChecks = []string{"clients", "database", "projects", "broker", "storage", "disk", "keys", "sandbox", "retention", "notify", "drift"}

func (a *app) doctorCommand() *cobra.Command {
	x := examination{now: time.Now, drifts: map[string]drift{}}
	var only []string
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything a worker needs, and say how to mend it",
		Long: "Looks with the worker's own configuration at the client tools, the database, the ledger\n" +
			"and its rights, the projects that were exported of late, the broker, its streams and\n" +
			"this key's rights, every storage (it writes, reads and deletes a probe), disks, clocks,\n" +
			"certificates, keys, the sandbox, mail, webhook and chat. It changes nothing else and\n" +
			"tells nobody unless --send-test is given. Run it as the worker's user: rights are its.\n\n" +
			"With --drift it also holds what each destination lists against the ledger: an export that\n" +
			"is missing, or an object that the ledger does not know, is a fault.\n\n" +
			"All checks run at once, each within --patience. A fault is what somebody must change;\n" +
			"unreachable is what gave no answer. Exits 1 for a fault, 5 if all that is wrong is\n" +
			"unreachable, and 0 otherwise, also for warnings and for what cannot be seen from here.",
		Example: "  pgcourier doctor\n" +
			"  pgcourier doctor --only database,broker/clock --project acme --project globex\n" +
			"  pgcourier doctor --only notify --send-test\n" +
			"  pgcourier doctor --only drift --drift\n" +
			"  pgcourier doctor --output json",
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringSliceVar(&only, "only", nil, "look at these only, by the names in the table or what is before their slash")
	cmd.Flags().StringArrayVar(&x.projects, "project", nil, "project to look at; may be repeated; none: up to 20 of those that were exported of late")
	cmd.Flags().DurationVar(&patience, "patience", doctor.DefaultTimeout, "longest time of one check")
	cmd.Flags().BoolVar(&x.drift, "drift", false, "also compare the storage with the ledger")
	cmd.Flags().BoolVar(&x.sendTest, "send-test", false, "also send a test: a mail to OPERATOR_EMAIL, an event of the type pgcourier.test, a message")
	_ = cmd.RegisterFlagCompletionFunc("only", cobra.FixedCompletions(doctorChecks, cobra.ShellCompDirectiveNoFileComp))
	load := a.settingFlags(cmd)
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) (err error) {
		for _, name := range only {
			if first, _, _ := strings.Cut(name, "/"); !slices.Contains(doctorChecks, first) {
				return exitf(exitUsage, "--only: %q is none of %s", name, strings.Join(doctorChecks, ", "))
			}
		}
		if patience <= 0 {
			return exitf(exitUsage, "--patience: %s is not positive", patience)
		}
		if x.config, err = load(); err != nil {
			return err
		}
		x.secrets = a.secretFiles(cmd)
		found := x.run(cmd.Context(), doctor.Config{Timeout: patience}, only)
		if err := a.print(x.examined(found), doctorText(a.screen(), found)); err != nil {
			return err
		}
		return doctorExit(found)
	})
	return cmd
}

// examined adds the objects to findings of drift.
func (x *examination) examined(found []doctor.Finding) []examined {
	x.mu.Lock() // a check that was left behind may still write
	defer x.mu.Unlock()
	out := make([]examined, 0, len(found))
	for _, f := range found {
		out = append(out, examined{f, x.drifts[f.Check]})
	}
	return out
}

// secretFiles are the files from which settings are read, by a flag or a variable.
func (a *app) secretFiles(cmd *cobra.Command) []string {
	var out []string
	for _, s := range config.Settings() {
		if !s.Secret {
			continue
		}
		file := a.env(s.Env + "_FILE")
		if f := cmd.Flags().Lookup(s.Flag + "-file"); f != nil && f.Changed {
			file = f.Value.String()
		}
		if file != "" {
			out = append(out, file)
		}
	}
	return out
}

// run looks at everything, or at what only names.
func (x *examination) run(ctx context.Context, c doctor.Config, only []string) []doctor.Finding {
	x.log = slog.New(slog.DiscardHandler)
	x.dbless = errNoDatabase
	if x.config.DatabaseURL != "" {
		x.pool, x.dbless = controlplane.Connect(context.WithoutCancel(ctx), x.config.DatabaseURL)
	}
	checks := slices.DeleteFunc(x.checks(), func(c doctor.Check) bool { return !doctor.Selected(c.Name, only) })
	c.Secrets = shownSecrets(x.config)
	if x.pool != nil {
		c.Secrets = append(c.Secrets, x.pool.Config().ConnConfig.Password)
	}
	found := doctor.Run(ctx, c, checks)
	if x.pool != nil {
		// A check that was left behind may hold a connection, for which Close would wait.
		go x.pool.Close()
	}
	found = slices.DeleteFunc(found, func(f doctor.Finding) bool { return !doctor.Selected(f.Check, only) })
	for i := range found {
		found[i].Found, found[i].Mend, found[i].Check = term.Sanitize(found[i].Found), term.Sanitize(found[i].Mend), term.Sanitize(found[i].Check)
	}
	return found
}

func (x *examination) checks() []doctor.Check {
	all := []doctor.Check{
		{Name: "clients", Run: x.checkClients},
		{Name: "database", Run: x.checkDatabase},
		{Name: "projects", Run: x.checkProjects},
		{Name: "broker", Run: x.checkBroker},
	}
	all = append(all, x.storageChecks()...)
	if x.drift {
		all = append(all, x.driftChecks()...)
	}
	return append(all,
		doctor.Check{Name: "disk", Run: x.checkDisks},
		doctor.Check{Name: "keys", Run: x.checkKeys},
		doctor.Check{Name: "sandbox", Run: x.checkSandbox},
		doctor.Check{Name: "retention", Run: x.checkRetention},
		doctor.Check{Name: "notify/email", Run: x.checkMail},
		doctor.Check{Name: "notify/webhook", Run: x.checkWebhook},
		doctor.Check{Name: "notify/telegram", Run: x.checkChat},
	)
}

// shownSecrets are what no finding may hold. Nothing that is used here tells them; this is
// for what nobody thought of.
func shownSecrets(c config.Config) []string {
	out := []string{c.TelegramToken.Reveal(), c.WebhookURL.Reveal()}
	out = append(out, strings.Split(c.WebhookSecret.Reveal(), ",")...)
	for _, s := range []secret.String{c.DatabaseURL, c.NATSURL, c.SMTPURL, c.RestoreURL, c.VerifyScratchURL} {
		for one := range strings.SplitSeq(s.Reveal(), ",") {
			if u, err := url.Parse(one); err == nil && u.User != nil {
				password, _ := u.User.Password()
				out = append(out, password)
			}
		}
	}
	return out
}

// doctorExit is 1 when somebody must act, and 5 when all that is wrong may pass.
func doctorExit(found []doctor.Finding) error {
	var faults, away []string
	for _, f := range found {
		switch f.State {
		case doctor.Fault:
			faults = append(faults, f.Check)
		case doctor.Unreachable:
			away = append(away, f.Check)
		default: // works, or is not known
		}
	}
	switch {
	case len(faults) > 0:
		return exitf(exitFailed, "to be mended: %s", strings.Join(append(faults, away...), ", "))
	case len(away) > 0:
		return exitf(exitUnreachable, "unreachable: %s", strings.Join(away, ", "))
	}
	return nil
}

// doctorText is the table, and below it what is to be mended in full.
func doctorText(s term.Screen, found []doctor.Finding) string {
	table := term.Table{Columns: []term.Column{{Title: "CHECK", Least: 16}, {Title: "STATE", ID: true}, {Title: "FOUND"}}}
	var below strings.Builder
	for _, f := range found {
		table.Add(f.Check, string(f.State), f.Found)
		if f.Mend != "" {
			fmt.Fprintf(&below, "\n%s\n", s.Bold(s.Cut(f.Check+": "+string(f.State))))
			below.WriteString(s.Pairs([][2]string{{"  found", f.Found}, {"  mend", f.Mend}}))
		}
	}
	return table.Text(s) + below.String()
}
