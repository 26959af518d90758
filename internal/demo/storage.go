package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// place is where one run of the demo keeps its exports.
type place struct {
	kind       string // one of Kinds
	dir        string // file: the folder
	keys       *credentials.Credentials
	identities []age.Identity // open the exports; the worker never has them
	showChat   func()         // tells what members of the chat see; nil: there is no chat
	close      func() error
}

// openServer starts a storage on a test server in this process, fills in the demo's
// storage and points the worker's configuration at it.
type openServer func(*story, *config.Config) error

// openStorage readies the storage and points the worker's configuration at it.
func (d *story) openStorage(c *config.Config) error {
	d.storage.close = func() error { return nil }
	if open, ok := servers()[d.storage.kind]; ok {
		return open(d, c)
	}
	c.Storage = []string{"file://" + d.storage.dir}
	d.tell("storage file://%s", d.storage.dir)
	return d.clearExports()
}

// clearExports removes what an earlier demo left: never a folder that it did not make.
func (d *story) clearExports() error {
	dir := d.storage.dir
	mark := filepath.Join(dir, ".pgcourier-demo")
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		if _, err := os.Stat(mark); err != nil {
			return config.Errorf("--dir: %s holds something that is not of an earlier demo", dir)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(mark, nil, 0o600)
}

// keyOf is the storage key behind a completed export's first location.
func keyOf(c *events.Completed) string {
	u, err := url.Parse(c.Storage[0].URI)
	if err != nil {
		return ""
	}
	if u.Opaque != "" { // file:KEY
		return u.Opaque
	}
	return strings.TrimPrefix(u.Path, "/") // the demo's bucket has no prefix
}

// showChat shows what members of the chat see, and that they cannot read it.
func (d *story) showChat(ctx context.Context, completed []*events.Completed) (err error) {
	d.say("What the chat's members see: id, part and count, and no more")
	d.storage.showChat()
	sealed, err := destinations.Open(d.config.Storage, destinations.Options{TelegramToken: d.config.TelegramToken, AllowPlaintext: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sealed.Close()) }()
	for _, c := range completed {
		doc, err := sealed[0].Manifest(ctx, keyOf(c)) // without an identity, as the worker
		if !errors.Is(err, storage.ErrSealed) {
			return fmt.Errorf("the manifest of %s is not sealed: %w", c.ProjectID, err)
		}
		if doc, err = doc.Unseal(d.storage.identities); err != nil {
			return err
		}
		d.tell("%s's manifest without the identity: %d bytes in %d parts; with it: %d rows in %d tables of %v",
			c.ProjectID, doc.Bytes, len(doc.Parts), doc.Manifest.Artifact.Rows, doc.Manifest.Artifact.Tables, doc.Manifest.Artifact.Schemas)
	}
	return nil
}

// Kinds returns the storages that this build can show.
func Kinds() []string {
	return append([]string{"file"}, slices.Sorted(maps.Keys(servers()))...)
}
