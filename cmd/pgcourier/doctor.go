package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/ledger"
)

// finding is what doctor says of one destination.
type finding struct {
	Check    string `json:"check"`
	Required bool   `json:"required"`
	OK       bool   `json:"ok"`
	Error    string `json:"error,omitempty"`
	drift
}

func (a *app) doctorCommand() *cobra.Command {
	var drifts bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check every storage destination",
		Long: "Asks each destination of STORAGE what a worker asks at its start: is the folder\n" +
			"writable, the bucket there, the chat reachable, may the bot post, delete and pin, is\n" +
			"auto-delete off. Exits 2 when something must be mended, 5 when it may pass.\n\n" +
			"With --drift it also holds what each destination lists against the ledger, and exits 4\n" +
			"when an export is missing, or an object is there that the ledger does not know.",
		Example: "  pgcourier doctor\n" +
			"  pgcourier doctor --drift --database-url-file /run/secrets/dsn\n" +
			"  pgcourier doctor --storage telegram://-1001234567890 --telegram-token-file /run/secrets/token --output json",
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&drifts, "drift", false, "compare the storage with the ledger, which DATABASE_URL names")
	load := a.settingFlags(cmd, append(slices.Clone(storageSettings), ledgerSettings...)...)
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) (err error) {
		c, err := load()
		if err != nil {
			return err
		}
		urls, err := c.StorageURLs()
		if err != nil {
			return err
		}
		// Nothing is stored, so nobody can read what should have been encrypted.
		places, err := openDestinations(urls, storageOptions{token: c.TelegramToken, plaintext: true, log: a.logger(c)})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeDestinations(places)) }()
		if !drifts {
			return a.examine(cmd.Context(), places, nil)
		}
		return withLedger(cmd.Context(), c, func(ctx context.Context, l *ledger.Ledger) error { return a.examine(ctx, places, l) })
	})
	return cmd
}

// examine checks each destination, optional ones too, and fails if one of them does.
// With a ledger it looks for drift too.
func (a *app) examine(ctx context.Context, places []*destination, l *ledger.Ledger) error {
	var all []finding
	var faults, drifts []error
	var text strings.Builder
	for _, d := range places {
		bounded, cancel := context.WithTimeout(ctx, checkPatience)
		err := d.check(bounded)
		cancel()
		f := finding{Check: "storage " + d.name, Required: !d.optional, OK: err == nil}
		if err != nil {
			err = fmt.Errorf("storage %s: %w", d.name, err)
			f.Error = err.Error()
			faults = append(faults, err)
		} else {
			fmt.Fprintf(&text, "%s: ok\n", f.Check)
		}
		all = append(all, f)
		if l == nil || err != nil {
			continue
		}
		f = finding{Check: "drift " + d.name, Required: !d.optional}
		if f.drift, err = d.drift(ctx, l); err != nil {
			return readExit(fmt.Errorf("%s: %w", f.Check, err))
		}
		f.Error = f.text()
		if f.OK = f.Error == ""; f.OK {
			fmt.Fprintf(&text, "%s: none\n", f.Check)
		} else {
			drifts = append(drifts, fmt.Errorf("%s: %s", f.Check, shown(f.Error)))
		}
		all = append(all, f)
	}
	if err := a.print(all, text.String()); err != nil {
		return err
	}
	if len(faults) == 0 {
		return exit(exitUnverified, errors.Join(drifts...))
	}
	return storageExit(errors.Join(append(faults, drifts...)...))
}
