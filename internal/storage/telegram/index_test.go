package telegram_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

func TestIndexIsUpdatedInPlace(t *testing.T) {
	t.Parallel()
	for name, chat := range map[string]int64{"channel": channel, "group": group, "private": private} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			d := b.driver(t, b.client, chat)
			if got, err := d.Index(t.Context()); err != nil || got != nil {
				t.Fatalf("before the first: %q, %v", got, err)
			}
			for _, doc := range []string{"one", "two", "two", "three"} {
				if err := d.SetIndex(t.Context(), []byte(doc)); err != nil {
					t.Fatal(err)
				}
				b.clock.Advance(telegramtest.DeletionWindow) // there is no limit of age
				if got, err := d.Index(t.Context()); err != nil || string(got) != doc {
					t.Fatalf("got %q, want %q: %v", got, doc, err)
				}
			}
			if m := b.Messages(chat); len(m) != 1 || !m[0].Pinned || m[0].Name != "pgcourier-index.pgc" {
				t.Errorf("the chat holds %+v, want one pinned index", m)
			}
		})
	}
}

// A reader that looked up the index just before a writer replaced it holds the id of a deleted
// document.
func TestAnIndexThatIsReplacedWhileItIsReadIsLookedUpAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	writer := b.driver(t, b.client, channel)
	if err := writer.SetIndex(t.Context(), []byte("one")); err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/getFile") {
			once.Do(func() {
				if err := writer.SetIndex(r.Context(), []byte("two")); err != nil {
					t.Error(err)
				}
			})
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	reader := b.driver(t, b.newClient(t, telegram.ClientConfig{BaseURL: server.URL}), channel)
	if got, err := reader.Index(t.Context()); err != nil || string(got) != "two" {
		t.Errorf("got %q, %v", got, err)
	}
}

// Telegram's error for a temporarily unavailable file says nothing about an export.
func TestAFileThatIsGoneForTheMomentIsUnavailable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.driver(t, b.client, channel)
	ref := put(t, d, key, 1, random(10))
	if err := d.SetIndex(t.Context(), []byte("one")); err != nil {
		t.Fatal(err)
	}
	b.Inject(telegramtest.Fault{
		Kind: telegramtest.Says, Method: "getFile", Times: -1, Code: http.StatusBadRequest,
		Says: "Bad Request: wrong file_id or the file is temporarily unavailable",
	})
	_, index := d.Index(t.Context())
	_, part := fetch(t.Context(), d, ref)
	for what, err := range map[string]error{"the index": index, "a part": part} {
		if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrUnavailable", what, err)
		}
	}
	b.Heal()
	if got, err := d.Index(t.Context()); err != nil || string(got) != "one" {
		t.Errorf("the index: %q, %v", got, err)
	}
	if got, err := fetch(t.Context(), d, ref); err != nil || len(got) != 10 {
		t.Errorf("the part: %d bytes, %v", len(got), err)
	}
}

// A bot sees the newest pinned message only. If it took another message for "no index yet", every
// export would be forgotten.
func TestHiddenIndexIsNotBegunAnew(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.driver(t, b.client, channel)
	if err := d.SetIndex(t.Context(), []byte("one")); err != nil {
		t.Fatal(err)
	}
	notice := b.Post(channel, "welcome")
	b.Pin(channel, notice, true)
	_, ierr := d.Index(t.Context())
	for what, err := range map[string]error{"read": ierr, "write": d.SetIndex(t.Context(), []byte("two")), "check": d.Check(t.Context())} {
		if !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "unpin") {
			t.Errorf("%s: got %v, want an error that tells to unpin", what, err)
		}
	}
	b.Pin(channel, notice, false)
	if got, err := d.Index(t.Context()); err != nil || string(got) != "one" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAnotherBotTakesTheIndexOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if err := b.driver(t, b.client, channel).SetIndex(t.Context(), []byte("one")); err != nil {
		t.Fatal(err)
	}
	heir := b.driver(t, b.newClient(t, telegram.ClientConfig{Token: exportSecret(b.addBot("heir"))}), channel)
	if got, err := heir.Index(t.Context()); err != nil || string(got) != "one" {
		t.Fatalf("got %q, %v", got, err)
	}
	if err := heir.SetIndex(t.Context(), []byte("two")); err != nil {
		t.Fatal(err)
	}
	if got, err := heir.Index(t.Context()); err != nil || string(got) != "two" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestIndexThatCannotBePinnedLeavesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := telegramtest.Admin()
	m.CanEdit = false
	b.SetMember(channel, b.token, m)
	err := b.driver(t, b.client, channel).SetIndex(t.Context(), []byte("one"))
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if n := len(b.Messages(channel)); n != 0 {
		t.Errorf("%d messages were left", n)
	}
}

func TestCheckNamesAllThatIsWrong(t *testing.T) {
	t.Parallel()
	admin := telegramtest.Admin()
	tests := map[string]struct {
		chat   telegramtest.Chat
		member telegramtest.Member
		want   []string // none: all is well
	}{
		"channel":                {telegramtest.Chat{ID: channel, Type: "channel"}, admin, nil},
		"group":                  {telegramtest.Chat{ID: group, Type: "supergroup"}, admin, nil},
		"private":                {telegramtest.Chat{ID: private, Type: "private"}, telegramtest.Member{Status: "member"}, nil},
		"no rights in a channel": {telegramtest.Chat{ID: channel, Type: "channel"}, telegramtest.Member{Status: "administrator"}, []string{"may not post", "may not pin"}},
		"no rights in a group":   {telegramtest.Chat{ID: group, Type: "group"}, telegramtest.Member{Status: "restricted"}, []string{"may not send", "may not pin"}},
		"plain member":           {telegramtest.Chat{ID: group, Type: "group"}, telegramtest.Member{Status: "member"}, []string{"may not pin"}},
		"auto-delete and more": {
			telegramtest.Chat{ID: channel, Type: "channel", AutoDelete: 86400e9, Protected: true},
			telegramtest.Member{Status: "administrator", CanPost: true},
			[]string{"after 86400 seconds", "protected", "may not pin"},
		},
		"kicked": {telegramtest.Chat{ID: channel, Type: "channel"}, telegramtest.Member{Status: "kicked"}, []string{"removed from the chat"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.AddChat(tt.chat)
			b.SetMember(tt.chat.ID, b.token, tt.member)
			err := b.driver(t, b.client, tt.chat.ID).Check(t.Context())
			if len(tt.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, storage.ErrUnavailable) {
				t.Fatalf("got %v", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v lacks %q", err, w)
				}
			}
			if n := len(b.Messages(tt.chat.ID)); n != 0 {
				t.Error("the check left a message")
			}
		})
	}
}

func TestMessagesVanishWithAutoDelete(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.AddChat(telegramtest.Chat{ID: group, Type: "group", AutoDelete: 86400e9})
	d := b.driver(t, b.client, group)
	ref := put(t, d, key, 1, random(10))
	b.clock.Advance(86400e9)
	if _, err := fetch(t.Context(), d, ref); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("got %v: that is why Check refuses such a chat", err)
	}
}
