package doctor

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// Config says what an examination looks at.
type Config struct {
	// Settings are those of the worker. Checks that they leave out are not made.
	Settings config.Config
	// Projects are looked at. Default: up to 20 of those that were exported lately.
	Projects []string
	// Drift also compares each destination with the ledger.
	Drift bool
	// SendTest also sends a test over each channel of the notifier.
	SendTest bool
	// Only are names of checks and findings, see Selected. Default: all.
	Only []string
	// Timeout bounds each check. Default: DefaultTimeout.
	Timeout time.Duration
	// Now is this machine's clock. Default: time.Now.
	Now func() time.Time
}

// Names are the checks, by their first name, in the order of their findings.
func Names() []string {
	return []string{"clients", "database", "projects", "restores", "broker", "storage", "disk", "keys", "sandbox", "retention", "notify", "drift"}
}

// Examine looks at everything that Config names, all at once, and returns what it found. It
// opens connections as serve does, writes and deletes a probe in each destination, and changes
// nothing else. No finding holds a secret of the settings.
func Examine(ctx context.Context, c Config) []Finding {
	if c.Now == nil {
		c.Now = time.Now
	}
	x := &examiner{Config: c, log: slog.New(slog.DiscardHandler), poolErr: errNoDatabase}
	if c.Settings.DatabaseURL != "" {
		x.pool, x.poolErr = controlplane.Connect(context.WithoutCancel(ctx), c.Settings.DatabaseURL, c.Settings.PasswordCommand)
	}
	password := "" // also of a keyword/value string and of a password file
	if x.pool != nil {
		password = x.pool.Config().ConnConfig.Password
	}
	b := Bounds{Timeout: c.Timeout, Secrets: secrets(c.Settings, password)}
	found := Run(ctx, b, slices.DeleteFunc(x.checks(), func(c Check) bool { return !Selected(c.Name, x.Only) }))
	if x.pool != nil {
		// A check that was left behind may hold a connection, for which Close would wait.
		go x.pool.Close()
	}
	return slices.DeleteFunc(found, func(f Finding) bool { return !Selected(f.Check, x.Only) })
}

// examiner is one run of Examine. Its methods are the checks, a file for each area.
type examiner struct {
	Config
	log     *slog.Logger  // discards: everything worth saying is a finding
	pool    *pgxpool.Pool // of the control plane; nil: see poolErr
	poolErr error         // why there is no pool
}

func (x *examiner) checks() []Check {
	all := []Check{
		{Name: "clients", Run: x.checkClients},
		{Name: "database", Run: x.checkDatabase},
		{Name: "projects", Run: x.checkProjects},
		{Name: "restores", Run: x.checkTargets},
		{Name: "broker", Run: x.checkBroker},
	}
	all = append(all, x.storageChecks()...)
	if x.Drift {
		all = append(all, x.driftChecks()...)
	}
	return append(all,
		Check{Name: "disk", Run: x.checkDisks},
		Check{Name: "keys", Run: x.checkKeys},
		Check{Name: "sandbox", Run: x.checkSandbox},
		Check{Name: "retention", Run: x.checkRetention},
		Check{Name: "notify/email", Run: x.checkMail},
		Check{Name: "notify/webhook", Run: x.checkWebhook},
		Check{Name: "notify/telegram", Run: x.checkChat},
		Check{Name: "notify/hooks", Run: x.checkHooks},
	)
}

// secrets are what no finding may hold: those of the settings, and more. The checks do not tell them;
// this is for text of others that repeats what it was given.
func secrets(c config.Config, more ...string) []string {
	out := slices.Concat(more, []string{c.TelegramToken.Reveal(), c.WebhookURL.Reveal(), c.OIDCSecret.Reveal()})
	out = append(out, strings.Split(c.WebhookSecret.Reveal(), ",")...)
	out = append(out, strings.Fields(strings.ReplaceAll(c.LinkKey.Reveal(), ",", " "))...)
	out = append(out, strings.Split(c.ReceiptKey.Reveal(), "\n")...)
	out = append(out, strings.Split(c.NotifyHooks.Reveal(), ",")...)
	for _, s := range []secret.String{c.DatabaseURL, c.NATSURL, c.SMTPURL, c.RestoreURL, c.VerifyScratchURL} {
		for one := range strings.SplitSeq(s.Reveal(), ",") {
			if u, err := url.Parse(one); err == nil && u.User != nil {
				password, _ := u.User.Password()
				out = append(out, password)
			}
		}
	}
	// The word is in most paths, so that masking it would hide them and no secret.
	return slices.DeleteFunc(out, func(s string) bool { return s == "pgcourier" })
}

var errNoDatabase = errors.New("PGCOURIER_DATABASE_URL is not set")
