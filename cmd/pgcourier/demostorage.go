package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/term"
)

// demoStorage is where one run of the demo keeps its exports.
type demoStorage struct {
	kind       string // file, s3 or telegram
	dir        string // file: the folder
	keys       *credentials.Credentials
	chat       *telegramtest.Server
	identities []age.Identity // telegram: opens the exports; the worker never has it
	close      func() error
}

// demoKinds are the storages that the demo can show.
var demoKinds = []string{"file", "s3", "telegram"}

// demoChat is private, where a bot may send a message a second: groups are slower.
const demoChat = 4242

// openStorage readies the storage and points the worker's configuration at it.
func (d *demo) openStorage(c *config.Config) error {
	d.storage.close = func() error { return nil }
	switch d.storage.kind {
	case "s3":
		return d.openS3(c)
	case "telegram":
		return d.openTelegram(c)
	}
	c.Storage = []string{"file://" + d.storage.dir}
	d.tell("storage file://%s", d.storage.dir)
	return d.clearExports()
}

// openS3 starts gofakes3, which keeps everything in memory.
func (d *demo) openS3(c *config.Config) error {
	store := s3mem.New()
	if err := store.CreateBucket("exports"); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("start the S3 test server: %w", err)
	}
	server := &http.Server{Handler: gofakes3.New(store).Server(), ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	d.storage.close = func() error {
		err := server.Close()
		if serr := <-ended; !errors.Is(serr, http.ErrServerClosed) {
			err = errors.Join(err, serr)
		}
		return err
	}
	d.storage.keys = credentials.NewStaticV4("demo", "demo-secret", "")
	endpoint := "http://" + listener.Addr().String()
	c.Storage = []string{"s3://exports?endpoint=" + url.QueryEscape(endpoint) + "&region=us-east-1&path_style=true"}
	d.tell("storage s3://exports at %s", endpoint)
	d.tell("THIS IS A TEST SERVER (gofakes3) in this process: what it holds is in memory and goes with it")
	return nil
}

// openTelegram starts the Telegram test server with one bot in one chat. The exports are
// encrypted to an identity that is made here and given to nobody.
func (d *demo) openTelegram(c *config.Config) error {
	server, err := telegramtest.Start(telegramtest.Config{})
	if err != nil {
		return err
	}
	d.storage.chat, d.storage.close = server, server.Close
	server.AddChat(telegramtest.Chat{ID: demoChat, Type: "private"})
	token := server.AddBot("courier")
	server.SetMember(demoChat, token, telegramtest.Admin())
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return errors.Join(err, server.Close())
	}
	d.storage.identities = []age.Identity{identity}
	c.Storage = []string{fmt.Sprintf("telegram://%d?api=%s", demoChat, url.QueryEscape(server.URL()))}
	c.TelegramToken, c.AgeRecipients = secret.String(token), []string{identity.Recipient().String()}
	d.tell("storage telegram://%d at %s", demoChat, server.URL())
	d.tell("THIS IS A TEST SERVER in this process, with Telegram's limits and pace: nothing is sent to Telegram")
	d.tell("encrypted to %s; the worker has no identity to read it with", identity.Recipient())
	return nil
}

// clearExports removes what an earlier demo left: never a folder that it did not make.
func (d *demo) clearExports() error {
	dir := d.storage.dir
	mark := filepath.Join(dir, ".pgcourier-demo")
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		if _, err := os.Stat(mark); err != nil {
			return exitf(exitUsage, "--dir: %s holds something that is not of an earlier demo", dir)
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
func (d *demo) showChat(ctx context.Context, completed []*events.Completed) (err error) {
	d.say("What the chat's members see: id, part and count, and no more")
	for _, m := range d.storage.chat.Messages(demoChat) {
		if m.Name != "" {
			d.tell("%-55s %10s  %s", m.Name, term.Size(m.Size), strings.ReplaceAll(m.Caption, "\n", ", "))
		}
	}
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

func knownKind(kind string) bool { return slices.Contains(demoKinds, kind) }
