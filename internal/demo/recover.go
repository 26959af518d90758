package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/stored"
)

// loseLedger drops the ledger, once the worker has ended, and rebuilds it as `pgcourier recover`
// does: from the manifests alone, with the storage opened anew. The new ledger must then say the
// same of each export as the old one.
func (d *story) loseLedger(ctx context.Context, completed []*events.Completed) error {
	d.say("The worker ends. Drop the ledger, and recover it from the manifests alone")
	before, err := d.recorded(ctx, completed)
	if err != nil {
		return err
	}
	if err := d.psql(ctx, "platform", strings.NewReader("SET client_min_messages = error; DROP SCHEMA pgcourier CASCADE;")); err != nil {
		return fmt.Errorf("drop the ledger: %w", err)
	}
	if err := service.WithLedger(ctx, d.config, func(ctx context.Context, led *ledger.Ledger, _ *project.Projects) error {
		out, faults, err := d.exports.Recover(ctx, led)
		d.tell("%d exports are stored: %d requests recovered, %d were known", out.Exports, len(out.Recovered), out.Known)
		return errors.Join(append(faults, err)...)
	}); err != nil {
		return fmt.Errorf("recover the ledger: %w", err)
	}
	after, err := d.recorded(ctx, completed)
	if err != nil {
		return err
	}
	for i, c := range completed {
		if before[i] != after[i] {
			return fmt.Errorf("the recovered ledger says of %s\n%s\nand said before\n%s", c.ProjectID, after[i], before[i])
		}
		d.tell("%-5s  recorded as before: %d rows, sha256 %.16s…", c.ProjectID, c.Rows, c.SHA256)
	}
	return nil
}

// recorded is what the ledger says of each completed request: its artifact as JSON.
func (d *story) recorded(ctx context.Context, completed []*events.Completed) (artifacts []string, err error) {
	err = service.WithLedger(ctx, d.config, func(ctx context.Context, led *ledger.Ledger, _ *project.Projects) error {
		for _, c := range completed {
			found, err := led.Get(ctx, c.RequestID, c.ProjectID)
			if err != nil {
				return err
			}
			if len(found) != 1 || found[0].Outcome == nil || found[0].Outcome.Artifact == nil {
				return fmt.Errorf("the ledger does not know %s/%s as completed", c.ProjectID, c.RequestID)
			}
			b, err := json.Marshal(found[0].Outcome.Artifact)
			if err != nil {
				return err
			}
			artifacts = append(artifacts, string(b))
		}
		return nil
	})
	return artifacts, err
}

// openExports opens the storage as the commands do, apart from the worker. The caller
// closes the exports.
func (d *story) openExports(log *slog.Logger) (*stored.Exports, error) {
	set, err := destinations.Open(d.config.Storage, destinations.Options{
		TelegramToken: d.config.TelegramToken, AllowPlaintext: true, Identities: d.storage.identities, S3: d.storage.keys, Log: log,
	})
	if err != nil {
		return nil, err
	}
	return stored.New(destinations.NewReader(set, d.storage.identities), d.config), nil
}
