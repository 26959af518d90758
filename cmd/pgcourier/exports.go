package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// storageSettings are what a command needs to read exports without broker and ledger.
var storageSettings = []string{"STORAGE", "DATA_DIR", "TELEGRAM_TOKEN", "AGE_IDENTITY_FILE"}

// idHelp says how exports are named on the command line.
const idHelp = "ID is a request id, PROJECT/REQUEST, or an export's key in the storage."

// reading are the flags of a command that reads stored exports.
type reading struct {
	app        *app
	load       func() (config.Config, error)
	identities []string
	from       string
}

// readingFlags gives cmd the flags for the storage, for identities, and for more settings.
func (a *app) readingFlags(cmd *cobra.Command, settings ...string) *reading {
	r := &reading{app: a}
	r.load = a.settingFlags(cmd, append(slices.Clone(storageSettings), settings...)...)
	cmd.Flags().StringArrayVarP(&r.identities, "identity", "i", nil, "age identity file or SSH private key; may be repeated; as --age-identity-file")
	cmd.Flags().StringVar(&r.from, "from", "", "only this destination of STORAGE, as events name it: file, s3, telegram, s3-2 ...")
	_ = cmd.MarkFlagFilename("identity")
	return r
}

// exports is the opened storage of one command.
type exports struct {
	*destinations.Reader
	app    *app
	config config.Config
}

// open reads the configuration and opens the destinations. The caller closes the exports.
func (r *reading) open() (*exports, error) {
	c, err := r.load()
	if err != nil {
		return nil, err
	}
	ids, err := destinations.ReadIdentities(append(slices.Clone(c.AgeIdentityFiles), r.identities...))
	if err != nil {
		return nil, err
	}
	urls, err := c.StorageURLs()
	if err != nil {
		return nil, err
	}
	// Nothing is stored, so nothing can be read that should have been encrypted.
	set, err := destinations.Open(urls, destinations.Options{TelegramToken: c.TelegramToken, AllowPlaintext: true, Identities: ids, Log: r.app.logger(c)})
	if err == nil && r.from != "" {
		set, err = set.Only(r.from)
	}
	return &exports{destinations.NewReader(set, ids), r.app, c}, err
}

func (l *exports) close() error { return l.Set.Close() }

// find returns the copies that an ID of the command line means: of one export, one for each
// destination that has it.
func (l *exports) find(ctx context.Context, id string) ([]destinations.Copy, error) {
	copies, unread, err := l.Find(ctx, id)
	if errors.Is(err, destinations.ErrNoExport) {
		return nil, l.absent(ctx, id, err)
	}
	if unread != nil {
		l.warn("%v", readFault(unread))
	}
	return copies, readFault(err)
}

func (l *exports) warn(format string, args ...any) {
	fmt.Fprintf(l.app.stderr, "pgcourier: warning: "+format+"\n", args...)
}

// export opens one copy for reading.
func (l *exports) export(ctx context.Context, c destinations.Copy) (restore.Export, error) {
	doc, err := c.Manifest(ctx)
	if err != nil {
		return restore.Export{}, readFault(err)
	}
	return restore.Export{
		Manifest: doc.Manifest, Identities: l.Identities,
		Open: func(ctx context.Context) (io.ReadCloser, error) { return c.Destination.Open(ctx, c.Key) },
	}, nil
}
