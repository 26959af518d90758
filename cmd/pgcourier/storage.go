package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/term"
)

// storagePlace is a destination as storage prints it.
type storagePlace struct {
	Destination string `json:"destination"`
	Storage     string `json:"storage,omitempty"`  // the name in its marker
	Recorded    string `json:"recorded,omitempty"` // the name that the ledger has
	LiesOn      string `json:"lies_on,omitempty"`  // the file system, where it is one of its own
	Fault       string `json:"fault,omitempty"`
}

func (a *app) storageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "storage",
		Short: "Show which storage is at each destination",
		Long: "Compares the marker in the root of each destination with the ledger, and changes\n" +
			"nothing. The exit code is 5 if a storage that the ledger knows is missing, for instance\n" +
			"because a file system is not mounted, and 2 if another storage is there, for instance\n" +
			"because each worker has a folder of its own. Telegram has no marker.",
		Example: "  pgcourier storage\n  pgcourier storage adopt file",
		Args:    cobra.NoArgs,
	}
	load := a.settingFlags(cmd, append([]string{"STORAGE", "TELEGRAM_TOKEN"}, ledgerSettings...)...)
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) error {
		return a.withPlaces(cmd.Context(), load, func(ctx context.Context, led *ledger.Ledger, set destinations.Set) error {
			out := []storagePlace{}
			var text strings.Builder
			var faults []error
			for _, d := range set {
				p, err := placeOf(ctx, led, d)
				out = append(out, p)
				fmt.Fprintf(&text, "%s: %s\n", d.Name, p.text())
				faults = append(faults, err)
			}
			return errors.Join(append([]error{a.print(out, text.String())}, faults...)...)
		})
	})
	return cmd
}

func (a *app) storageAdoptCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "adopt DESTINATION",
		Short: "Record the storage that is at a destination",
		Long: "Records the storage that lies at a destination, and marks it if it has no marker; in a\n" +
			"chat it begins an empty index if none is pinned. Only for a storage that was moved or made\n" +
			"anew on purpose: `pgcourier doctor --drift` lists exports that it does not have.",
		Example: "  pgcourier storage adopt file --storage file:///srv/exports",
		Args:    cobra.ExactArgs(1),
	}
	load := a.settingFlags(cmd, append([]string{"STORAGE", "TELEGRAM_TOKEN"}, ledgerSettings...)...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		return a.withPlaces(cmd.Context(), load, func(ctx context.Context, led *ledger.Ledger, set destinations.Set) error {
			d := set.Named(args[0])
			if d == nil {
				return exitf(exitUsage, "%q is not one of %s", args[0], strings.Join(set.Names(), ", "))
			}
			m, err := d.Adopt(ctx, led)
			if err != nil {
				return err
			}
			return a.print(storagePlace{Destination: d.Name, Storage: m.Storage, Recorded: m.Storage},
				fmt.Sprintf("%s is the storage %s\n", d.Name, term.Sanitize(m.Name())))
		})
	})
	return cmd
}

// withPlaces opens the destinations and the ledger.
func (a *app) withPlaces(ctx context.Context, load func() (config.Config, error), do func(context.Context, *ledger.Ledger, destinations.Set) error) error {
	c, err := load()
	if err != nil {
		return err
	}
	urls, err := c.StorageURLs()
	if err != nil {
		return err
	}
	set, err := destinations.Open(urls, destinations.Options{TelegramToken: c.TelegramToken, AllowPlaintext: true, Log: a.logger(c)})
	if err != nil {
		return err
	}
	err = service.WithLedger(ctx, c, func(ctx context.Context, led *ledger.Ledger, _ *project.Projects) error { return do(ctx, led, set) })
	return errors.Join(err, set.Close())
}

func placeOf(ctx context.Context, led *ledger.Ledger, d *destinations.Destination) (storagePlace, error) {
	p := storagePlace{Destination: d.Name}
	s, ok, err := d.Look(ctx, led)
	if !ok {
		return p, nil
	}
	if err == nil {
		err = d.Fault(s)
	}
	p.Storage, p.Recorded, p.LiesOn = s.Marker.Storage, s.Recorded, s.LiesNow
	if err != nil {
		err = fmt.Errorf("%s: %w", d.Name, err)
		p.Fault = err.Error()
	}
	return p, err
}

func (p storagePlace) text() string {
	on := ""
	if p.LiesOn != "" {
		on = " (" + term.Sanitize(p.LiesOn) + ")"
	}
	switch {
	case p.Fault != "":
		return "not the storage that the ledger knows" + on
	case p.Storage == "" && p.Recorded == "":
		return "not marked" + on
	case p.Storage == "":
		return "its marker is missing; a worker makes it again at its start" + on
	}
	return "storage " + p.Storage + on
}
