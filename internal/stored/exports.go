package stored

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// Config says which exports are read.
type Config struct {
	// Settings name the destinations, identities, and, if there is one, the ledger.
	Settings config.Config
	// Identities are files with identities, beside those that Settings names.
	Identities []string
	// From is the only destination to read. Default: all.
	From string
	Log  *slog.Logger
}

// Exports are the exports that lie in the destinations of a configuration.
type Exports struct {
	*destinations.Reader
	settings config.Config
}

// Open opens the destinations. The caller closes the exports. Nothing is stored, so Telegram is
// opened without recipients too.
func Open(c Config) (*Exports, error) {
	ids, err := destinations.ReadIdentities(slices.Concat(c.Settings.AgeIdentityFiles, c.Identities))
	if err != nil {
		return nil, err
	}
	urls, err := c.Settings.StorageURLs()
	if err != nil {
		return nil, err
	}
	set, err := destinations.Open(urls, destinations.Options{
		TelegramToken: c.Settings.TelegramToken, AllowPlaintext: true, Identities: ids, Log: c.Log,
	})
	if err == nil && c.From != "" {
		set, err = set.Only(c.From)
	}
	if err != nil {
		return nil, err
	}
	return New(destinations.NewReader(set, ids), c.Settings), nil
}

// New returns the exports of opened destinations.
func New(r *destinations.Reader, settings config.Config) *Exports { return &Exports{r, settings} }

// Close closes the destinations.
func (e *Exports) Close() error { return e.Set.Close() }

// Find is Reader.Find. The error for an export that no destination has tells when and why it was
// deleted, if the ledger of the settings can be asked and knows it.
func (e *Exports) Find(ctx context.Context, id string) (copies []destinations.Copy, unread, err error) {
	copies, unread, err = e.Reader.Find(ctx, id)
	if errors.Is(err, destinations.ErrNoExport) {
		err = e.explain(ctx, id, err)
	}
	return copies, WithHint(unread), WithHint(err)
}

// explain says of an export that is at no destination when and why it was deleted, or that a
// destination does not hold the storage that the ledger knows. Else, and where the ledger cannot be
// asked, the error stays as it is.
func (e *Exports) explain(ctx context.Context, id string, missing error) error {
	if e.settings.DatabaseURL == "" {
		return missing
	}
	pool, err := controlplane.Connect(ctx, e.settings.DatabaseURL, e.settings.PasswordCommand)
	if err != nil {
		return missing
	}
	defer pool.Close()
	l, err := ledger.Attach(ctx, ledger.Config{Pool: pool})
	if err != nil {
		return missing
	}
	if why := deletion(ctx, l, id); why != "" {
		return fmt.Errorf("%w: %s", missing, why)
	}
	for _, d := range e.Set {
		if s, ok, err := d.Look(ctx, l); ok && err == nil {
			if fault := d.Fault(s); fault != nil {
				return fmt.Errorf("%s: %w", d.Name, fault)
			}
		}
	}
	return missing
}

// deletion says when and why an export was deleted. "": it is not known.
func deletion(ctx context.Context, l *ledger.Ledger, id string) string {
	gone, err := l.Gone(ctx, id)
	if err != nil || len(gone) == 0 {
		return ""
	}
	why := "by hand"
	if r := gone[0].Reason; r != "" {
		why = "by retention: " + r
	}
	return fmt.Sprintf("%s was deleted at %s, %s", gone[0].ID, gone[0].RemovedAt.UTC().Format(time.DateTime+"Z"), why)
}

// Export opens one copy to be verified or restored.
func (e *Exports) Export(ctx context.Context, c destinations.Copy) (restore.Export, error) {
	doc, err := c.Manifest(ctx)
	if err != nil {
		return restore.Export{}, WithHint(err)
	}
	return restore.Export{
		Manifest: doc.Manifest, Identities: e.Identities,
		Open: func(ctx context.Context) (io.ReadCloser, error) { return c.Destination.Open(ctx, c.Key) },
	}, nil
}

// WithHint makes the error of a missing identity a *config.Error that says how to name one. Any
// other error stays as it is.
func WithHint(err error) error {
	if _, said := errors.AsType[*config.Error](err); said || !errors.Is(err, storage.ErrSealed) && !errors.Is(err, restore.ErrIdentity) {
		return err
	}
	return config.Errorf("%w: name the identity with --identity FILE", err)
}
