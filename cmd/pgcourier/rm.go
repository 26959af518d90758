package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/term"
)

// removed is what rm says of one object at one destination.
type removed struct {
	ID     string `json:"id"`
	Key    string `json:"key"`
	From   string `json:"from"`
	Result string `json:"result"` // deleted, tombstoned or absent
}

func (a *app) rmCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "rm ID",
		Short: "Delete a stored export from every destination",
		Long: "Deletes an export and says for each destination what became of it: deleted, absent,\n" +
			"or tombstoned where only an empty stand-in could take its place (a Telegram bot\n" +
			"deletes messages for 48 hours only). With DATABASE_URL the ledger notes when; the\n" +
			"request's outcome stays as it was announced. It may be repeated.\n\n" + idHelp,
		Example: "  pgcourier rm nightly-42\n  pgcourier rm acme/nightly-42 --yes --storage s3://backups/prod",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	flags := a.readingFlags(cmd, ledgerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) (err error) {
		l, err := flags.open()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.close()) }()
		rm := func(ctx context.Context, led *ledger.Ledger, _ *project.Projects) error {
			return l.remove(ctx, args[0], led, flags.from == "", yes)
		}
		if l.config.DatabaseURL == "" {
			return rm(cmd.Context(), nil, nil)
		}
		return service.WithLedger(cmd.Context(), l.config, rm)
	})
	return cmd
}

// remove deletes what id means everywhere. led may be nil.
func (l *exports) remove(ctx context.Context, id string, led *ledger.Ledger, everywhere, yes bool) error {
	what, keys, err := l.doomed(ctx, id, led)
	if err != nil {
		return err
	}
	if err := l.confirm(ctx, what, keys, yes); err != nil {
		return err
	}
	out := []removed{}
	var faults []error
	var text strings.Builder
	for _, d := range l.Set {
		for _, key := range keys {
			became, err := d.Remove(ctx, key)
			if err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", d.Name, err))
				continue
			}
			out = append(out, removed{what.String(), key, d.Name, became.String()})
			fmt.Fprintf(&text, "%s: %s at %s\n", term.Sanitize(key), became, d.Name)
		}
	}
	if len(faults) == 0 && led != nil && everywhere {
		if _, err := led.Remove(ctx, what); err != nil {
			return readFault(fmt.Errorf("deleted, but the ledger could not note it: %w", err))
		}
	}
	if err := l.app.print(out, text.String()); err != nil {
		return err
	}
	return readFault(errors.Join(faults...))
}

// doomed finds the one export that id means, and every object of it: in the storage, also
// where its manifest cannot be read, and in the ledger, also where a destination lost it.
func (l *exports) doomed(ctx context.Context, id string, led *ledger.Ledger) (export.ID, []string, error) {
	found, away, err := l.Search(ctx, id)
	if err != nil {
		return export.ID{}, nil, err
	}
	if away != nil { // what cannot be asked cannot be cleaned
		return export.ID{}, nil, readFault(away)
	}
	keys := map[export.ID][]string{}
	for _, c := range found {
		keys[c.ID] = append(keys[c.ID], c.Key)
	}
	if led != nil {
		if err := recorded(ctx, led, id, keys); err != nil {
			return export.ID{}, nil, err
		}
	}
	var ids []string
	var one export.ID
	for of := range keys {
		one = of
		ids = append(ids, of.String())
	}
	slices.Sort(ids)
	switch len(ids) {
	case 0:
		return export.ID{}, nil, &destinations.NoExportError{ID: id}
	case 1:
		slices.Sort(keys[one])
		return one, slices.Compact(keys[one]), nil
	}
	return export.ID{}, nil, &destinations.AmbiguousError{ID: id, Exports: ids}
}

// recorded adds the objects of completed requests that the ledger knows under id.
func recorded(ctx context.Context, led *ledger.Ledger, id string, keys map[export.ID][]string) error {
	project, request, both := strings.Cut(id, "/")
	if !both {
		project, request = "", id
	}
	entries, err := led.Get(ctx, request, project)
	if err != nil {
		return err
	}
	for _, e := range entries {
		for _, t := range e.Attempts {
			if e.State == export.Completed && t.Object != "" && storage.CheckKey(t.Object) == nil {
				keys[e.ID] = append(keys[e.ID], t.Object)
			}
		}
	}
	return nil
}

// confirm asks on a terminal; without one --yes is the answer.
func (l *exports) confirm(ctx context.Context, what export.ID, keys []string, yes bool) error {
	if yes {
		return nil
	}
	if !term.IsTerminal(l.app.stdin) {
		return exitf(exitUsage, "rm deletes %s for good: say --yes", what)
	}
	var names []string
	for _, d := range l.Set {
		names = append(names, d.Name)
	}
	fmt.Fprintf(l.app.stderr, "Delete %s (%s) from %s for good? Type yes: ", term.Sanitize(what.String()), term.Sanitize(strings.Join(keys, ", ")), strings.Join(names, ", "))
	answer, err := bufio.NewReader(l.app.stdin).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "yes" || ctx.Err() != nil {
		return exitf(exitFailed, "nothing was deleted")
	}
	return nil
}
