package destinations_test

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// A chat with its index unpinned looks like an empty chat. While the ledger has exports there, no index
// is begun anew, nothing counts as absent, and everything is found once the index is pinned again.
func TestAnIndexIsNotBegunAnewWhereTheLedgerHasExports(t *testing.T) {
	t.Parallel()
	server, err := telegramtest.Start(telegramtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	token := server.AddBot("courier")
	chat := func(id int64) *destinations.Destination {
		server.AddChat(telegramtest.Chat{ID: id, Type: "channel"})
		server.SetMember(id, token, telegramtest.Admin())
		return opened(t, fmt.Sprintf("telegram://%d?api=%s", id, url.QueryEscape(server.URL())), destinations.Options{TelegramToken: secret.String(token), AllowPlaintext: true})
	}
	const first, mine, others = "acme/one.1.sql", int64(-1001234567890), int64(-1001234567891)
	r := records{}
	worker, reader := chat(mine), chat(mine)
	if err := errors.Join(worker.Claim(t.Context(), r, quiet), reader.Bind(t.Context(), r)); err != nil {
		t.Fatal(err)
	}
	copies, err := worker.Put(t.Context(), first, strings.NewReader("x"), storagetest.Describe(first, []byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	r["uris"] = []string{copies[0].URI}
	at := slices.IndexFunc(server.Messages(mine), func(m telegramtest.Message) bool { return m.Pinned })
	if at < 0 {
		t.Fatal("no index is pinned")
	}
	index := server.Messages(mine)[at].ID

	server.Pin(mine, index, false)
	for who, d := range map[string]*destinations.Destination{"worker": worker, "reader": reader} {
		f, ok := errors.AsType[*export.Fault](try(d, "acme/two.1.sql"))
		if !ok || f.Code != codes.StorageRefused || !errors.Is(f, storage.ErrNoIndex) || !strings.Contains(f.Error(), "pgcourier storage adopt telegram") {
			t.Errorf("%s: put: %v", who, f)
		}
		if became, err := d.Remove(t.Context(), first); !errors.Is(err, storage.ErrNoIndex) {
			t.Errorf("%s: remove: %s, %v", who, became, err)
		}
		if _, err := d.Copy(t.Context(), first); errors.Is(err, storage.ErrNotFound) || !errors.Is(err, storage.ErrNoIndex) {
			t.Errorf("%s: a copy: %v", who, err)
		}
		for key, err := range d.Keys(t.Context()) {
			if !errors.Is(err, storage.ErrNoIndex) {
				t.Errorf("%s: lists %q, %v", who, key, err)
			}
		}
		if err := d.CheckIndex(t.Context()); !errors.Is(err, storage.ErrNoIndex) {
			t.Errorf("%s: check: %v", who, err)
		}
	}

	server.Pin(mine, index, true)
	for who, d := range map[string]*destinations.Destination{"worker": worker, "reader": reader} {
		if _, err := d.Copy(t.Context(), first); err != nil {
			t.Errorf("%s: pinned again: %v", who, err)
		}
	}
	if _, err := worker.Adopt(t.Context(), r); err == nil || !strings.Contains(err.Error(), "nothing to adopt") {
		t.Errorf("adopted with an index: %v", err)
	}

	// Another chat is begun without a question. A lost index is begun by an operator.
	other := chat(others)
	if err := other.Claim(t.Context(), r, quiet); err != nil {
		t.Fatal(err)
	}
	if err := other.CheckIndex(t.Context()); err != nil {
		t.Errorf("another chat: %v", err)
	}
	server.Remove(mine, index)
	if err := try(worker, "acme/three.1.sql"); !errors.Is(err, storage.ErrNoIndex) {
		t.Errorf("the index is lost: %v", err)
	}
	if _, err := worker.Adopt(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := worker.CheckIndex(t.Context()); err != nil {
		t.Errorf("begun by an operator: %v", err)
	}
	if _, err := reader.Copy(t.Context(), first); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("of the lost index: %v", err)
	}
}
