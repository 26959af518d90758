package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"filippo.io/age"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/file"
	"github.com/pgcourier/pgcourier/internal/storage/s3"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

// destination is one place where exports are kept. close releases it.
type destination struct {
	name       string // as events name it: file, s3, telegram, or with a number: s3-2
	optional   bool
	repository *storage.Repository
	check      func(context.Context) error
	close      func() error
}

// storageOptions is what all destinations of a process share.
type storageOptions struct {
	token      secret.String   // of the Telegram bot
	plaintext  bool            // Telegram without recipients is wanted, or nothing is stored
	recipients []age.Recipient // of what is stored
	identities []age.Identity  // to read manifests with; a worker has none
	// journal is for destinations that cannot list, by a name that is the same for every
	// worker. nil: notes last as long as the process.
	journal func(destination string) storage.Journal
	// s3 replaces the usual chain of credentials: environment, file, role.
	s3  *credentials.Credentials
	log *slog.Logger
	// transport stands around the HTTP connections of a destination. nil: nothing does.
	transport func(destination string, next http.RoundTripper) http.RoundTripper
}

// around is transport for one destination.
func (o storageOptions) around(destination string) func(http.RoundTripper) http.RoundTripper {
	if o.transport == nil {
		return nil
	}
	return func(next http.RoundTripper) http.RoundTripper { return o.transport(destination, next) }
}

// placement is one entry of a STORAGE list.
type placement struct {
	place    string // its URL without what is for us alone
	name     string
	optional bool
}

// openDestinations opens a STORAGE list. The caller closes the destinations.
func openDestinations(urls []string, o storageOptions) (all []*destination, err error) {
	placements, err := placeDestinations(urls)
	if err != nil {
		return nil, err
	}
	for _, p := range placements {
		d, err := p.open(o)
		if err != nil {
			return nil, errors.Join(err, closeDestinations(all))
		}
		all = append(all, d)
	}
	return all, nil
}

func (p placement) open(o storageOptions) (*destination, error) {
	d, err := openDestination(p.place, p.name, o)
	if err != nil {
		return nil, err
	}
	d.optional = p.optional
	return d, nil
}

// placeDestinations reads a STORAGE list. The first is the primary one and required; a
// further one is optional unless its URL says required=true.
func placeDestinations(urls []string) (all []placement, err error) {
	seen, kinds := map[string]bool{}, map[string]int{}
	for i, raw := range urls {
		place, required, err := cutRequired(raw)
		switch {
		case err != nil:
			return nil, exitf(exitUsage, "PGCOURIER_STORAGE: destination %d: %w", i+1, err)
		case seen[place]:
			return nil, exitf(exitUsage, "PGCOURIER_STORAGE: destination %d is named twice", i+1)
		case i == 0 && required == "false":
			return nil, exitf(exitUsage, "PGCOURIER_STORAGE: the first destination is the primary one: it is always required")
		}
		seen[place] = true
		u, err := url.Parse(place)
		if err != nil { // cutRequired has parsed it
			return nil, err
		}
		kinds[u.Scheme]++
		name := u.Scheme
		if n := kinds[name]; n > 1 {
			name += "-" + strconv.Itoa(n)
		}
		all = append(all, placement{place, name, i > 0 && required != "true"})
	}
	return all, nil
}

// cutRequired takes the parameter required out of a destination's URL.
func cutRequired(raw string) (place, required string, err error) {
	u, err := url.Parse(raw)
	if err != nil { // which may repeat a key or a token
		return "", "", errors.New("not a URL such as file:///var/lib/exports")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", "", errors.New("the URL's parameters cannot be parsed")
	}
	if !query.Has("required") {
		return raw, "", nil
	}
	required = query.Get("required")
	if len(query["required"]) != 1 || required != "true" && required != "false" {
		return "", "", errors.New("required is neither true nor false")
	}
	query.Del("required")
	u.RawQuery = query.Encode()
	return u.String(), required, nil
}

// openDestination opens one destination under a name; it touches nothing but a folder,
// which it makes. The URL has no parameter required.
func openDestination(raw, name string, o storageOptions) (*destination, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, exitf(exitUsage, "the storage is not a URL such as file:///var/lib/exports")
	}
	d := &destination{name: name}
	c := storage.Config{Name: name, Recipients: o.recipients, Identities: o.identities}
	switch u.Scheme {
	case "file":
		err = d.openFile(u, &c)
	case "s3":
		err = d.openS3(raw, o, &c)
	case "telegram":
		err = d.openTelegram(raw, o, &c)
	default:
		err = exitf(exitUsage, "the storage %q is not one of file:///dir, s3://bucket/prefix and telegram://CHAT_ID", u.Scheme)
	}
	if err != nil {
		return nil, err
	}
	if d.repository, err = storage.New(c); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *destination) openFile(u *url.URL, c *storage.Config) error {
	if u.Host != "" || u.Path == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return exitf(exitUsage, "storage in a folder is file:///dir, with three slashes and nothing after the path")
	}
	driver, err := file.Open(u.Path)
	if err != nil {
		return storageExit(err)
	}
	c.Driver, d.check, d.close = driver, driver.Check, driver.Close
	return nil
}

func (d *destination) openS3(raw string, o storageOptions, c *storage.Config) error {
	settings, err := s3.ParseURL(raw)
	if err != nil {
		return exit(exitUsage, err)
	}
	settings.Credentials, settings.Around = o.s3, o.around(d.name)
	driver, err := s3.New(settings)
	if err != nil {
		return exit(exitUsage, err)
	}
	c.Driver, d.check, d.close = driver, driver.Check, driver.Close
	return nil
}

func (d *destination) openTelegram(raw string, o storageOptions, c *storage.Config) error {
	place, err := telegram.ParseLocation(raw)
	switch {
	case err != nil:
		return exit(exitUsage, err)
	case o.token == "":
		return exitf(exitUsage, "storage in Telegram: set PGCOURIER_TELEGRAM_TOKEN or PGCOURIER_TELEGRAM_TOKEN_FILE to the bot's token")
	case len(o.recipients) == 0 && !o.plaintext:
		return exitf(exitUsage, "storage in Telegram: everybody in the chat, and Telegram, could read the exports: set PGCOURIER_AGE_RECIPIENTS, or PGCOURIER_ALLOW_PLAINTEXT=true if that is what you want")
	}
	client, err := telegram.NewClient(telegram.ClientConfig{Token: o.token, BaseURL: place.API, LocalDir: place.LocalDir, Around: o.around(d.name), Logger: o.log})
	if err != nil {
		return exit(exitUsage, err)
	}
	driver, err := telegram.New(telegram.Config{Client: client, Chat: place.Chat, PartSize: place.PartSize})
	if err != nil {
		return exit(exitUsage, errors.Join(err, client.Close()))
	}
	c.Journal = new(storage.MemoryJournal)
	if o.journal != nil {
		c.Journal = o.journal("telegram:" + strconv.FormatInt(place.Chat, 10))
	}
	c.Driver, d.check, d.close = driver, driver.Check, client.Close
	return nil
}

func closeDestinations(all []*destination) error {
	var faults []error
	for _, d := range slices.Backward(all) {
		faults = append(faults, d.close())
	}
	return errors.Join(faults...)
}

// checkPatience bounds the check of one destination.
const checkPatience = time.Minute

// checkDestinations asks each destination whether it can be used. What is wrong with a
// required one is the error; an optional one must not keep a worker from its work, so
// what is wrong with it is logged.
func checkDestinations(ctx context.Context, all []*destination, log *slog.Logger) error {
	var faults []error
	for _, d := range all {
		bounded, cancel := context.WithTimeout(ctx, checkPatience)
		err := d.check(bounded)
		cancel()
		switch {
		case err == nil:
		case d.optional:
			log.ErrorContext(ctx, "optional destination cannot be used now", "destination", d.name, "error", err)
		default:
			faults = append(faults, fmt.Errorf("storage %s: %w", d.name, err))
		}
	}
	return storageExit(errors.Join(faults...))
}

// storageExit gives a storage's error its exit code: refused is a matter of
// configuration, anything else may pass.
func storageExit(err error) error {
	if errors.Is(err, storage.ErrRefused) {
		return exit(exitUsage, err)
	}
	return exit(exitUnreachable, err)
}

// newStore makes one store of all destinations. Each has its own time budget for storing,
// and around stands before each.
func newStore(all []*destination, budget time.Duration, around func(destination string, next export.Store) export.Store, log *slog.Logger) (export.Store, error) {
	var targets []storage.Target
	for _, d := range all {
		targets = append(targets, storage.Target{
			Name: d.name, Store: around(d.name, storage.Budgeted{Store: d.repository, Budget: budget}), Optional: d.optional,
		})
	}
	if len(targets) == 1 {
		return targets[0].Store, nil
	}
	return storage.NewFan(targets, func(ctx context.Context, name string, err error) {
		log.ErrorContext(ctx, "optional destination failed", "destination", name, "error", err)
	})
}

// notes is the ledger as the journal of one destination. While the ledger is unreachable
// it waits, as all of an attempt does.
type notes struct {
	ledger      *ledger.Ledger
	destination string
}

var _ storage.Journal = notes{}

// Note implements storage.Journal.
func (n notes) Note(ctx context.Context, key string, ref storage.Ref) error {
	return export.Retry(ctx, func(ctx context.Context) error {
		return n.ledger.Note(ctx, n.destination, key, string(ref))
	})
}

// Refs implements storage.Journal.
func (n notes) Refs(ctx context.Context, key string) ([]storage.Ref, error) {
	var refs []storage.Ref
	err := export.Retry(ctx, func(ctx context.Context) error {
		noted, err := n.ledger.Notes(ctx, n.destination, key)
		for _, ref := range noted {
			refs = append(refs, storage.Ref(ref))
		}
		return err
	})
	return refs, err
}

// Forget implements storage.Journal.
func (n notes) Forget(ctx context.Context, key string) error {
	return export.Retry(ctx, func(ctx context.Context) error {
		return n.ledger.ForgetNotes(ctx, n.destination, key)
	})
}
