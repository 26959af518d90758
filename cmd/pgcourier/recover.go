package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// recovery is recover's output as JSON.
type recovery struct {
	Exports   int               `json:"exports"`   // manifests that were read, copies of one counted once
	Recovered []string          `json:"recovered"` // requests that the ledger did not know
	Known     int               `json:"known"`     // requests that it knew, left as they are
	Faults    map[string]string `json:"faults"`    // by destination and key: why a manifest was not used
}

func (a *app) recoverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Rebuild the ledger from what is stored",
		Long: "Reads the manifest of every stored export and records the requests that the ledger\n" +
			"does not know, with their outcomes; it makes the ledger's schema if it is gone. Rows\n" +
			"that exist are never changed, so it may be repeated. Failed requests left nothing in\n" +
			"the storage and stay forgotten. It needs no broker, and announces nothing.\n\n" +
			"A manifest that cannot be used is reported and makes the exit code 4 (2 when only an\n" +
			"identity is missing); all others are recovered all the same.",
		Example: "  pgcourier recover --storage file:///var/lib/exports --database-url-file /run/secrets/dsn\n" +
			"  pgcourier recover --storage telegram://-1001234567890 -i key.txt",
		Args: cobra.NoArgs,
	}
	flags := a.readingFlags(cmd, ledgerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) (err error) {
		l, err := flags.open()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.close()) }()
		return service.WithLedger(cmd.Context(), l.config, func(ctx context.Context, led *ledger.Ledger, _ *project.Projects) error {
			return l.recover(ctx, led)
		})
	})
	return cmd
}

func (l *exports) recover(ctx context.Context, led *ledger.Ledger) error {
	out := recovery{Recovered: []string{}, Faults: map[string]string{}}
	found, faults, err := l.manifests(ctx)
	if err != nil {
		return err
	}
	for at, err := range faults {
		out.Faults[at] = err.Error()
	}
	out.Exports = len(found)
	for _, m := range found {
		r, err := requestOf(m)
		if err != nil {
			out.Faults[m.Key] = err.Error()
			faults[m.Key] = fmt.Errorf("%w: %w", storage.ErrDamaged, err)
			continue
		}
		made, err := led.Recover(ctx, r, m)
		if err != nil {
			return err
		}
		if made {
			out.Recovered = append(out.Recovered, m.ID.String())
		} else {
			out.Known++
		}
	}
	slices.Sort(out.Recovered)
	text := fmt.Sprintf("%d exports are stored: %d requests recovered, %d were known\n", out.Exports, len(out.Recovered), out.Known)
	if err := l.app.print(out, text); err != nil {
		return err
	}
	var all []error
	for at, err := range faults {
		all = append(all, readFault(fmt.Errorf("%s: %w", at, err)))
	}
	if len(all) == 0 {
		return nil
	}
	return worst(all)
}

// manifests reads all that can be read: one for each request, of its last attempt, with
// where its copies lie. faults are those of single manifests.
func (l *exports) manifests(ctx context.Context) (found map[export.ID]export.Manifest, faults map[string]error, err error) {
	found, faults = map[export.ID]export.Manifest{}, map[string]error{}
	for _, d := range l.Set {
		for doc, err := range d.Manifests(ctx) {
			switch {
			case err != nil && doc.Key == "": // the destination itself cannot be read
				return nil, nil, readFault(fmt.Errorf("%s: %w", d.Name, err))
			case err != nil:
				faults[d.Name+":"+doc.Key] = err
				continue
			}
			where, err := d.Copy(ctx, doc.Key)
			if err != nil {
				faults[d.Name+":"+doc.Key] = err
				continue
			}
			m, have := found[doc.Manifest.ID]
			switch {
			case have && m.Key == doc.Key:
				m.Artifact.Copies = append(m.Artifact.Copies, where)
			case !have || m.Attempt < doc.Manifest.Attempt:
				m = doc.Manifest
				m.Artifact.Copies = []export.Copy{where}
			}
			found[m.ID] = m
		}
	}
	return found, faults, nil
}

// requestOf makes the request of its manifest, as the worker had decoded it: a manifest
// is written indented, and the request's digest is that of its canonical form.
func requestOf(m export.Manifest) (export.Request, error) {
	asked, err := events.Decode(events.Raw{Body: m.Payload})
	if err != nil {
		return export.Request{}, fmt.Errorf("the manifest's request: %w", err)
	}
	if asked.ProjectID != m.Project {
		return export.Request{}, errors.New("the manifest's request is another project's")
	}
	payload, err := asked.Canonical()
	if err != nil {
		return export.Request{}, fmt.Errorf("the manifest's request: %w", err)
	}
	return export.Request{ID: m.ID, RequestedBy: m.RequestedBy, Metadata: m.Metadata, Payload: payload, Digest: sha256.Sum256(payload)}, nil
}
