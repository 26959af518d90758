package telegram_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

func TestDeleteSaysWhatItDid(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.driver(t, b.client, channel)
	fresh := put(t, d, key, 1, random(10))
	got, err := d.Delete(t.Context(), fresh)
	if err != nil || got != storage.Deleted || len(b.Messages(channel)) != 0 {
		t.Errorf("fresh: %v, %v, %d messages left", got, err, len(b.Messages(channel)))
	}
	got, err = d.Delete(t.Context(), fresh)
	if err != nil || got != storage.Absent {
		t.Errorf("again: %v, %v", got, err)
	}

	old := put(t, d, key, 1, random(10))
	b.clock.Advance(telegramtest.DeletionWindow - time.Second)
	young := put(t, d, key, 2, random(10))
	b.clock.Advance(time.Second)
	if got, err = d.Delete(t.Context(), young); err != nil || got != storage.Deleted {
		t.Errorf("young: %v, %v", got, err)
	}
	for range 2 { // a tombstone can be set on a tombstone
		if got, err = d.Delete(t.Context(), old); err != nil || got != storage.Tombstoned {
			t.Fatalf("after 48 hours: %v, %v", got, err)
		}
	}
	messages := b.Messages(channel)
	if len(messages) != 1 || messages[0].Name != "pgcourier-deleted.pgc" || strings.Contains(messages[0].Caption, key) {
		t.Errorf("the tombstone is %+v", messages)
	}
	if _, err := fetch(t.Context(), d, old); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("fetching the tombstoned: %v", err)
	}
	if _, err := fetch(t.Context(), d, young); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("fetching the deleted: %v", err)
	}
	if n := len(b.Messages(channel)); n != 1 {
		t.Errorf("looking for them left %d messages in the chat", n-1)
	}
}

func TestDeleteOfAnOldMessageThatIsGoneOrForeign(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.driver(t, b.client, channel)
	ref := put(t, d, key, 1, random(10))
	b.clock.Advance(3 * telegramtest.DeletionWindow)
	successor := b.newClient(t, telegram.ClientConfig{Token: exportSecret(b.addBot("successor"))})
	if _, err := b.driver(t, successor, channel).Delete(t.Context(), ref); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("another bot's old message: got %v, want that it cannot be done", err)
	}
	b.Remove(channel, 1)
	if got, err := d.Delete(t.Context(), ref); err != nil || got != storage.Absent {
		t.Errorf("gone: %v, %v", got, err)
	}
}

func TestForeignReferencesChangeNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.driver(t, b.client, channel)
	put(t, d, key, 1, random(10))
	elsewhere := put(t, b.driver(t, b.client, group), key, 1, random(10))
	for _, ref := range []storage.Ref{elsewhere, "", "file/" + key, "tg1", "tg2.1.2.3.4.5.6"} {
		if _, err := d.Open(t.Context(), ref, 0); !errors.Is(err, storage.ErrForeign) {
			t.Errorf("open %q: %v", ref, err)
		}
		if _, err := d.Delete(t.Context(), ref); !errors.Is(err, storage.ErrForeign) {
			t.Errorf("delete %q: %v", ref, err)
		}
	}
	if len(b.Messages(channel)) != 1 || len(b.Messages(group)) != 1 {
		t.Error("something was deleted")
	}
}

// The bot's token may be lost for good. A new bot in the same chat can still read everything.
func TestAnotherBotReadsByForwarding(t *testing.T) {
	t.Parallel()
	b := setup(t)
	data := random(100 << 10)
	ref := put(t, b.driver(t, b.client, channel), key, 1, data)
	b.Revoke(b.token)
	heir := b.newClient(t, telegram.ClientConfig{Token: exportSecret(b.addBot("heir"))})
	d := b.driver(t, heir, channel)
	got, err := fetch(t.Context(), d, ref)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("got %d bytes, want %d: %v", len(got), len(data), err)
	}
	if n := len(b.Messages(channel)); n != 1 {
		t.Errorf("%d forwarded copies were left", n-1)
	}
	b.AddChat(telegramtest.Chat{ID: channel, Type: "channel", Protected: true})
	if _, err := fetch(t.Context(), d, ref); !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "protected") {
		t.Errorf("protected content: got %v", err)
	}
}

func TestAMessageThatAUserDeletedIsNotFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.driver(t, b.client, channel)
	ref := put(t, d, key, 1, random(10))
	b.Remove(channel, 1)
	if _, err := fetch(t.Context(), d, ref); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}
