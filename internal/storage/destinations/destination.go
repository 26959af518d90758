package destinations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"

	"filippo.io/age"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/file"
	"github.com/pgcourier/pgcourier/internal/storage/s3"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

// Destination keeps exports. Close releases it.
type Destination struct {
	*storage.Repository
	Name     string // in events: file, s3, telegram, or with a number: s3-2
	Optional bool

	check func(context.Context) error
	close func() error

	marked   storage.Marked // nil: the address alone tells it from others
	place    string         // in the ledger
	expected string         // the storage's name; "": not bound
	chats    []string       // how the URIs of exports in a chat begin; nil: it is no chat
	keeps    func(context.Context) (k s3.Keeping, ok bool)
	notice   func() string
}

// Options is what all destinations of a process share.
type Options struct {
	// TelegramToken is the bot's. A telegram destination requires it.
	TelegramToken secret.String
	// AllowPlaintext lets Telegram be opened without recipients: exports there may be
	// readable, or nothing is stored.
	AllowPlaintext bool
	// Recipients can read what is stored from now on. Empty: it is not encrypted.
	Recipients []age.Recipient
	// Identities open encrypted manifests. A worker has none.
	Identities []age.Identity
	// Journal returns the journal of a destination that cannot list, by a name that is the
	// same for every worker. nil: its notes last as long as the process.
	Journal func(destination string) storage.Journal
	// S3 replaces the usual sources of credentials: environment, file, role.
	S3 *credentials.Credentials
	// Transport wraps the HTTP connections of a destination. nil: nothing does.
	Transport func(destination string, next http.RoundTripper) http.RoundTripper
	Log       *slog.Logger
}

// around is Transport for one destination.
func (o Options) around(destination string) func(http.RoundTripper) http.RoundTripper {
	if o.Transport == nil {
		return nil
	}
	return func(next http.RoundTripper) http.RoundTripper { return o.Transport(destination, next) }
}

// Open opens one destination and changes nothing. A folder may be missing: Claim makes it. A fault
// of the URL or of the options is a *config.Error.
func (l Location) Open(o Options) (*Destination, error) {
	u, err := url.Parse(l.URL)
	if err != nil {
		return nil, config.Errorf("the storage is not a URL such as file:///var/lib/exports")
	}
	d := &Destination{Name: l.Name, Optional: l.Optional, place: place(u)}
	c := storage.Config{Name: l.Name, Recipients: o.Recipients, Identities: o.Identities}
	switch u.Scheme {
	case "file":
		err = d.openFile(u, &c)
	case "s3":
		err = d.openS3(l.URL, o, &c)
	case "telegram":
		err = d.openTelegram(l.URL, o, &c)
	default:
		err = config.Errorf("the storage %q is not one of file:///dir, s3://bucket/prefix and telegram://CHAT_ID", u.Scheme)
	}
	if err != nil {
		return nil, err
	}
	if d.Repository, err = storage.New(c); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Check asks the destination whether it can be used. Errors wrap storage.ErrUnavailable or,
// where an operator must act, storage.ErrRefused.
func (d *Destination) Check(ctx context.Context) error { return asUnavailable(d.check(ctx)) }

// Keeping returns whether the destination keeps what is deleted. ok is false where that cannot be
// asked.
func (d *Destination) Keeping(ctx context.Context) (k s3.Keeping, ok bool) {
	if d.keeps == nil {
		return k, false
	}
	return d.keeps(ctx)
}

// Notice returns what an operator should change although the destination works; "": nothing. It
// is known after Check.
func (d *Destination) Notice() string {
	if d.notice == nil {
		return ""
	}
	return d.notice()
}

// Close releases the destination.
func (d *Destination) Close() error { return d.close() }

func (d *Destination) openFile(u *url.URL, c *storage.Config) error {
	if u.Host != "" || u.Path == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return config.Errorf("storage in a folder is file:///dir, with three slashes and nothing after the path")
	}
	driver, err := file.Open(u.Path)
	if err != nil {
		return asUnavailable(err)
	}
	c.Driver, d.check, d.close, d.marked = driver, driver.Check, driver.Close, driver
	return nil
}

func (d *Destination) openS3(raw string, o Options, c *storage.Config) error {
	settings, err := s3.ParseURL(raw)
	if err != nil {
		return config.AsError(err)
	}
	settings.Credentials, settings.Around, settings.Logger = o.S3, o.around(d.Name), o.Log
	driver, err := s3.New(settings)
	if err != nil {
		return config.AsError(err)
	}
	c.Driver, d.check, d.close, d.marked, d.keeps = driver, driver.Check, driver.Close, driver, driver.Keeps
	return nil
}

func (d *Destination) openTelegram(raw string, o Options, c *storage.Config) error {
	place, err := telegram.ParseLocation(raw)
	switch {
	case err != nil:
		return config.AsError(err)
	case o.TelegramToken == "":
		return config.Errorf("storage in Telegram: set PGCOURIER_TELEGRAM_TOKEN or PGCOURIER_TELEGRAM_TOKEN_FILE to the bot's token")
	case len(o.Recipients) == 0 && !o.AllowPlaintext:
		return config.Errorf("storage in Telegram: every member of the chat, and Telegram, could read the exports: set PGCOURIER_AGE_RECIPIENTS, or PGCOURIER_ALLOW_PLAINTEXT=true if that is what you want")
	}
	client, err := telegram.NewClient(telegram.ClientConfig{
		Token: o.TelegramToken, BaseURL: place.API, LocalDir: place.LocalDir, Around: o.around(d.Name), Logger: o.Log,
	})
	if err != nil {
		return config.AsError(err)
	}
	driver, err := telegram.New(telegram.Config{Client: client, Chat: place.Chat, Was: place.Was, Topic: place.Topic, PartSize: place.PartSize})
	if err != nil {
		return config.AsError(errors.Join(err, client.Close()))
	}
	c.Journal = new(storage.MemoryJournal)
	if o.Journal != nil {
		// The notes of a group's time stay those of the supergroup that it became.
		c.Journal = o.Journal("telegram:" + strconv.FormatInt(cmp.Or(place.Was, place.Chat), 10))
	}
	for _, chat := range []int64{place.Chat, place.Was} {
		if chat != 0 {
			d.chats = append(d.chats, fmt.Sprintf("telegram://%d/", chat))
		}
	}
	c.Driver, d.check, d.close, d.notice = driver, driver.Check, client.Close, driver.Notice
	return nil
}

// asUnavailable makes any error of a destination's own an ErrUnavailable and keeps its text.
func asUnavailable(err error) error {
	if err == nil || errors.Is(err, storage.ErrUnavailable) {
		return err
	}
	return unavailableError{err}
}

type unavailableError struct{ error }

func (e unavailableError) Unwrap() error { return e.error }

func (unavailableError) Is(target error) bool { return target == storage.ErrUnavailable }
