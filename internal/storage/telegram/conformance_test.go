package telegram_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

const smallPart = 2048

// smallDriver opens the channel with small parts.
func (b *bench) smallDriver(t *testing.T) *telegram.Driver {
	t.Helper()
	d, err := telegram.New(telegram.Config{Client: b.newClient(t, telegram.ClientConfig{}), Chat: channel, PartSize: smallPart})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDriverKeepsTheContract(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, 1000, func(t *testing.T) storagetest.Destination {
		t.Helper()
		b := setup(t)
		return storagetest.Destination{
			Driver:   b.smallDriver(t),
			Journal:  &storage.MemoryJournal{},
			PartSize: smallPart,
			Reopen:   func(t *testing.T) storage.Driver { t.Helper(); return b.smallDriver(t) },
			Alter: func(t *testing.T, ref storage.Ref, data []byte) {
				t.Helper()
				if err := b.Alter(channel, messageOf(t, ref), data); err != nil {
					t.Fatal(err)
				}
			},
			Litter: func(t *testing.T) { t.Helper(); b.Post(channel, "has anybody seen my keys?") },
			Remains: func(t *testing.T) []string {
				t.Helper()
				var names []string
				for _, m := range b.Messages(channel) {
					if m.Name != "" && m.Name != "pgcourier-index.pgc" {
						names = append(names, m.Name)
					}
				}
				return names
			},
		}
	})
}

// messageOf reads a reference, which only a test may do.
func messageOf(t *testing.T, ref storage.Ref) int64 {
	t.Helper()
	f := strings.Split(string(ref), ".")
	if len(f) != 7 {
		t.Fatalf("not a reference: %q", ref)
	}
	id, err := strconv.ParseInt(f[3], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// 540 parts are 10 GiB at 19 MiB each. The pace counts messages, not bytes, so small parts
// take the same virtual time: 20 messages a minute, and nothing on top.
func TestTenGiBTakeTheTimeThatThePaceAllows(t *testing.T) {
	t.Parallel()
	const parts = 540
	b := setup(t)
	repo, err := storage.New(storage.Config{Driver: b.smallDriver(t), Journal: &storage.MemoryJournal{}})
	if err != nil {
		t.Fatal(err)
	}
	data := storagetest.Bytes(parts * smallPart)
	start := b.clock.Now()
	if _, err := repo.Put(t.Context(), key, bytes.NewReader(data), storagetest.Describe(key, data)); err != nil {
		t.Fatal(err)
	}
	// With the manifest, the index and its pinning: 543 messages, 27 full minutes.
	if took := b.clock.Now().Sub(start); took < 27*time.Minute || took > 28*time.Minute {
		t.Errorf("took %v of virtual time", took)
	}
	if s := b.Stats(); s.Flooded != 0 || s.Chunked != 0 {
		t.Errorf("%d answers to wait, %d uploads in chunks", s.Flooded, s.Chunked)
	}
	// Another process, which knows only the chat.
	other, err := telegram.New(telegram.Config{Client: b.newClient(t, telegram.ClientConfig{}), Chat: channel})
	if err != nil {
		t.Fatal(err)
	}
	if repo, err = storage.New(storage.Config{Driver: other, Journal: &storage.MemoryJournal{}}); err != nil {
		t.Fatal(err)
	}
	for doc, err := range repo.Manifests(t.Context()) {
		if err != nil || doc.Key != key || len(doc.Parts) != parts {
			t.Fatalf("recovered %q in %d parts: %v", doc.Key, len(doc.Parts), err)
		}
		r, err := repo.Open(t.Context(), doc.Key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
			t.Fatalf("read %d bytes, want %d: %v", len(got), len(data), err)
		}
	}
	if s := b.Stats(); s.Requests["forwardMessage"] != 0 {
		t.Errorf("needed %d forwards", s.Requests["forwardMessage"])
	}
}

func TestBurstsOfErrorsFailNoExport(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, f := range []telegramtest.Fault{
		{Kind: telegramtest.TooManyRequests, Method: "sendDocument", Skip: 2, Times: 30, RetryAfter: 40 * time.Second},
		{Kind: telegramtest.Reset, Method: "sendDocument", Skip: 5, Times: 4, After: 1000},
		{Kind: telegramtest.BadGateway, Method: "getFile", Skip: 3, Times: 4},
		{Kind: telegramtest.LoseReply, Method: "sendDocument", Skip: 1, Times: 3},
		{Kind: telegramtest.Short, Method: "download", Skip: 4, Times: 4, After: 500},
		{Kind: telegramtest.LoseReply, Method: "editMessageMedia"},
		{Kind: telegramtest.LoseReply, Method: "pinChatMessage"},
	} {
		b.Inject(f)
	}
	repo, err := storage.New(storage.Config{Driver: b.smallDriver(t), Journal: &storage.MemoryJournal{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"acme/a.1.sql", "acme/b.1.sql"} {
		data := storagetest.Bytes(int64(3*smallPart) + int64(len(k)))
		if _, err := repo.Put(t.Context(), k, bytes.NewReader(data), storagetest.Describe(k, data)); err != nil {
			t.Fatal(err)
		}
		r, err := repo.Open(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("read %d bytes, want %d: %v", len(got), len(data), err)
		}
	}
	if s := b.Stats(); s.Impatient != 0 {
		t.Errorf("came %d times before it was asked to", s.Impatient)
	}
}

func TestRemovingAnOldExportLeavesTombstones(t *testing.T) {
	t.Parallel()
	b := setup(t)
	repo, err := storage.New(storage.Config{Driver: b.smallDriver(t), Journal: &storage.MemoryJournal{}})
	if err != nil {
		t.Fatal(err)
	}
	data := storagetest.Bytes(2*smallPart + 1)
	if _, err := repo.Put(t.Context(), key, bytes.NewReader(data), storagetest.Describe(key, data)); err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(telegramtest.DeletionWindow)
	if got, err := repo.Remove(t.Context(), key); err != nil || got != storage.Tombstoned {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := repo.Open(t.Context(), key); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("open after it: %v", err)
	}
	for _, m := range b.Messages(channel) {
		if m.Name != "pgcourier-index.pgc" && m.Name != "pgcourier-deleted.pgc" {
			t.Errorf("%s is left", m.Name)
		}
	}
}
