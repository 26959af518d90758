package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/storage"
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

// library is the opened storage.
type library struct {
	config     config.Config
	app        *app
	places     []*destination
	identities []age.Identity
}

// open reads the configuration and opens the destinations. The caller closes the library.
func (r *reading) open() (*library, error) {
	c, err := r.load()
	if err != nil {
		return nil, err
	}
	ids, err := readIdentities(append(slices.Clone(c.AgeIdentityFiles), r.identities...))
	if err != nil {
		return nil, err
	}
	urls, err := c.StorageURLs()
	if err != nil {
		return nil, err
	}
	// Nothing is stored, so nobody can read what should have been encrypted.
	places, err := openDestinations(urls, storageOptions{token: c.TelegramToken, plaintext: true, identities: ids, log: r.app.logger(c)})
	if err != nil {
		return nil, err
	}
	l := &library{config: c, app: r.app, places: places, identities: ids}
	if r.from == "" {
		return l, nil
	}
	i := slices.IndexFunc(places, func(d *destination) bool { return d.name == r.from })
	if i < 0 {
		var names []string
		for _, d := range places {
			names = append(names, d.name)
		}
		return nil, errors.Join(exitf(exitUsage, "--from: %q is not one of %s", r.from, strings.Join(names, ", ")), closeDestinations(places))
	}
	others := slices.Concat(places[:i], places[i+1:])
	l.places = places[i : i+1]
	return l, closeDestinations(others)
}

func (l *library) close() error { return closeDestinations(l.places) }

func readIdentities(files []string) ([]age.Identity, error) {
	var all []age.Identity
	for _, file := range files {
		b, err := os.ReadFile(file) //nolint:gosec // the operator names the file
		if err != nil {
			return nil, exitf(exitUsage, "read identity: %w", err)
		}
		ids, err := seal.ParseIdentities(b)
		if err != nil {
			return nil, exitf(exitUsage, "identity file %s: %w", file, err)
		}
		all = append(all, ids...)
	}
	return all, nil
}

// copyOf is one complete export at one destination.
type copyOf struct {
	place *destination
	key   string
	id    export.ID
	// attempt is the highest where several attempts of a request left an export: a later
	// one is made only after the earlier lost its right to the request.
	attempt int
}

// parseKey reads a key as the exporter makes it: PROJECT/[LABEL/]REQUEST.ATTEMPT.EXTENSION.
func parseKey(key string) (id export.ID, attempt int, ok bool) {
	project, _, _ := strings.Cut(key, "/")
	request, rest, _ := strings.Cut(path.Base(key), ".")
	number, _, _ := strings.Cut(rest, ".")
	attempt, err := strconv.Atoi(number)
	return export.ID{Project: project, Request: request}, attempt, err == nil && attempt > 0 && project != path.Base(key)
}

// find returns the copies that an ID of the command line means: of one export, one for each
// destination that has it.
func (l *library) find(ctx context.Context, id string) ([]copyOf, error) {
	found, away, err := l.search(ctx, id)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, c := range found {
		ids = append(ids, c.id.String())
	}
	slices.Sort(ids)
	switch ids = slices.Compact(ids); {
	case len(ids) > 1:
		return nil, exitf(exitUsage, "several exports are meant by %q: choose one: %s", id, strings.Join(ids, ", "))
	case len(found) == 0 && away != nil:
		return nil, away
	case len(found) == 0:
		return nil, l.absent(ctx, id)
	case away != nil:
		l.warn("%v", away)
	}
	last := slices.MaxFunc(found, func(a, b copyOf) int { return cmp.Compare(a.attempt, b.attempt) })
	return slices.DeleteFunc(found, func(c copyOf) bool { return c.key != last.key }), nil
}

// search lists all that ID can mean. away says which destinations could not be asked.
func (l *library) search(ctx context.Context, id string) (found []copyOf, away, err error) {
	var faults []error
	for _, d := range l.places {
		for key, err := range d.repository.Keys(ctx) {
			if err != nil {
				if ctx.Err() != nil {
					return nil, nil, err
				}
				faults = append(faults, fmt.Errorf("%s: %w", d.name, err))
				break
			}
			of, attempt, ok := parseKey(key)
			if key == id || ok && (of.Request == id || of.String() == id) {
				found = append(found, copyOf{d, key, of, attempt})
			}
		}
	}
	if len(faults) > 0 {
		away = readExit(errors.Join(faults...))
	}
	return found, away, nil
}

func (l *library) warn(format string, args ...any) {
	fmt.Fprintf(l.app.stderr, "pgcourier: warning: "+format+"\n", args...)
}

// export opens one copy for reading.
func (l *library) export(ctx context.Context, c copyOf) (restore.Export, error) {
	doc, err := c.place.repository.Manifest(ctx, c.key)
	if errors.Is(err, storage.ErrNotFound) {
		return restore.Export{}, exitf(exitNotFound, "%s: no export %q is stored", c.place.name, c.key)
	}
	if err != nil {
		return restore.Export{}, readExit(fmt.Errorf("%s: %w", c.place.name, err))
	}
	return restore.Export{
		Manifest: doc.Manifest, Identities: l.identities,
		Open: func(ctx context.Context) (io.ReadCloser, error) { return c.place.repository.Open(ctx, c.key) },
	}, nil
}

// readExit gives an error of reading, verifying or restoring its exit code.
func readExit(err error) error {
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
	}
	switch _, coded := errors.AsType[*exitError](err); {
	case err == nil || coded:
		return err
	case is(storage.ErrSealed, restore.ErrIdentity):
		return exitf(exitUsage, "%w: name the identity with --identity FILE", err)
	case is(storage.ErrRefused):
		return exit(exitUsage, err)
	case is(restore.ErrUnverified, storage.ErrDamaged, storage.ErrForeign, storage.ErrVersion, storage.ErrNotFound):
		return exit(exitUnverified, err)
	case is(storage.ErrUnavailable, restore.ErrTarget, export.ErrLedgerUnavailable):
		return exit(exitUnreachable, err)
	}
	return exit(exitFailed, err)
}
