package telegram_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

const (
	family      = int64(-4242)
	supergroup  = int64(-1009876543210)
	before, now = "acme/before.1.sql", "acme/now.1.sql"
)

// household is a group with the bot in it.
func household(t *testing.T) *bench {
	t.Helper()
	b := setup(t)
	b.AddChat(telegramtest.Chat{ID: family, Type: "group", Title: "family"})
	b.SetMember(family, b.token, telegramtest.Admin())
	return b
}

func (b *bench) repository(t *testing.T, j storage.Journal, c telegram.Config, log *slog.Logger) (*storage.Repository, *telegram.Driver) {
	t.Helper()
	c.Client, c.PartSize = b.newClient(t, telegram.ClientConfig{Logger: log}), smallPart
	d, err := telegram.New(c)
	if err != nil {
		t.Fatal(err)
	}
	r, err := storage.New(storage.Config{Driver: d, Journal: j})
	if err != nil {
		t.Fatal(err)
	}
	return r, d
}

func store(t *testing.T, r *storage.Repository, key string) export.Copy {
	t.Helper()
	data := storagetest.Bytes(3 * smallPart)
	copies, err := r.Put(t.Context(), key, bytes.NewReader(data), storagetest.Describe(key, data))
	if err != nil {
		t.Fatal(err)
	}
	return copies[0]
}

func readable(t *testing.T, r *storage.Repository, key string) {
	t.Helper()
	body, err := r.Open(t.Context(), key)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	if _, err = io.Copy(io.Discard, body); errors.Join(err, body.Close()) != nil {
		t.Errorf("%s: %v", key, err)
	}
}

// A group becomes a supergroup with another id: by itself, when it gets a public history or many
// members. Storing continues there, and earlier exports stay readable.
func TestAGroupThatBecameASupergroupIsFollowed(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]telegram.Config{
		"a worker with the old id": {Chat: family},
		"the new id":               {Chat: supergroup, Was: family},
	} {
		for _, running := range []bool{true, false} {
			if running && after.Was != 0 {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := household(t)
				journal := new(storage.MemoryJournal)
				var log bytes.Buffer
				logger := slog.New(slog.NewTextHandler(&log, nil))
				r, d := b.repository(t, journal, telegram.Config{Chat: family}, logger)
				if first := store(t, r, before); !strings.HasPrefix(first.URI, "telegram://-4242/") || first.Message != "" {
					t.Errorf("stored %+v", first)
				}
				b.Upgrade(family, supergroup)
				if !running {
					r, d = b.repository(t, journal, after, logger)
				}
				if err := d.Check(t.Context()); err != nil {
					t.Fatal(err)
				}
				readable(t, r, before)
				second := store(t, r, now)
				if !strings.HasPrefix(second.URI, "telegram://-1009876543210/") {
					t.Errorf("stored %+v", second)
				}
				told := after.Was == 0
				if told != strings.Contains(second.Message, "telegram://-1009876543210?was=-4242") || told != strings.Contains(log.String(), "new=-1009876543210") {
					t.Errorf("the outcome says %q, the log %s", second.Message, log.String())
				}
				// The index is in the supergroup now, with both in it, for either setting.
				for _, c := range []telegram.Config{{Chat: family}, {Chat: supergroup, Was: family}} {
					again, _ := b.repository(t, journal, c, logger)
					readable(t, again, before)
					readable(t, again, now)
				}
				// Messages of the group cannot be deleted any more, and must not be confused with a
				// message of that number in the supergroup.
				inSupergroup := len(b.Messages(supergroup))
				if got, err := r.Remove(t.Context(), before); err != nil || got != storage.Hidden {
					t.Errorf("removed: %s, %v", got, err)
				}
				if n := len(b.Messages(supergroup)); n != inSupergroup {
					t.Errorf("the supergroup has %d messages, had %d", n, inSupergroup)
				}
				if got, err := r.Remove(t.Context(), now); err != nil || got != storage.Deleted {
					t.Errorf("removed of the supergroup: %s, %v", got, err)
				}
				for key, err := range r.Keys(t.Context()) {
					t.Errorf("listed: %s, %v", key, err)
				}
			})
		}
	}
}

// With the new id and without the old one, references to the group are foreign: they are refused
// and nothing is deleted elsewhere.
func TestTheNewIDAloneIsAnotherChat(t *testing.T) {
	t.Parallel()
	b := household(t)
	_, d := b.repository(t, new(storage.MemoryJournal), telegram.Config{Chat: family}, nil)
	ref := put(t, d, before, 1, []byte("x"))
	b.Upgrade(family, supergroup)
	_, d = b.repository(t, new(storage.MemoryJournal), telegram.Config{Chat: supergroup}, nil)
	if _, err := fetch(t.Context(), d, ref); !errors.Is(err, storage.ErrForeign) {
		t.Errorf("fetched: %v", err)
	}
	if _, err := d.Delete(t.Context(), ref); !errors.Is(err, storage.ErrForeign) {
		t.Errorf("deleted: %v", err)
	}
}

func TestATopicOfAForum(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.SetTopic(group, 7, true)
	r, _ := b.repository(t, new(storage.MemoryJournal), telegram.Config{Chat: group, Topic: 7}, nil)
	store(t, r, now)
	for _, m := range b.Messages(group) {
		if m.Topic != 7 {
			t.Errorf("%s is in topic %d", m.Name, m.Topic)
		}
	}
	readable(t, r, now)
	b.SetTopic(group, 7, false)
	missing, _ := b.repository(t, new(storage.MemoryJournal), telegram.Config{Chat: group, Topic: 8}, nil)
	for name, r := range map[string]*storage.Repository{"closed": r, "missing": missing} {
		data := []byte("x")
		_, err := r.Put(t.Context(), before, bytes.NewReader(data), storagetest.Describe(before, data))
		f, ok := errors.AsType[*export.Fault](err)
		if !ok || !errors.Is(err, storage.ErrRefused) || !strings.Contains(f.Message, "message_thread_id") {
			t.Errorf("%s: %v", name, err)
		}
	}
	readable(t, r, now)
	b.SetTopic(group, 7, true)
	if got, err := r.Remove(t.Context(), now); err != nil || got != storage.Deleted {
		t.Errorf("%s, %v", got, err)
	}
}

// A wait that Telegram requests costs no attempt, also if it is hours: the clock of storing stops
// meanwhile.
func TestALongRetryAfterIsObeyed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, _ := b.repository(t, new(storage.MemoryJournal), telegram.Config{Chat: channel}, nil)
	b.Inject(telegramtest.Fault{Kind: telegramtest.TooManyRequests, Method: "sendDocument", Skip: 1, RetryAfter: 7 * time.Hour})
	data := storagetest.Bytes(3 * smallPart)
	_, err := storage.Budgeted{Store: r, Budget: 30 * time.Minute}.Put(t.Context(), now, bytes.NewReader(data), storagetest.Describe(now, data))
	if took := b.clock.Now().Sub(epoch); err != nil || took < 7*time.Hour || took > 8*time.Hour {
		t.Errorf("after %s: %v", took, err)
	}
}

// answers are answers of the Bot API, and of proxies before it, to a document.
func TestEachAnswerHasItsClass(t *testing.T) {
	t.Parallel()
	for says, c := range map[string]struct {
		code int
		kind error
		hint string
	}{
		"Unauthorized":                               {401, storage.ErrRefused, "token"},
		"Not Found":                                  {404, storage.ErrRefused, "token"},
		"Bad Request: chat not found":                {400, storage.ErrRefused, "no such chat"},
		"Bad Request: PEER_ID_INVALID":               {400, storage.ErrRefused, "no such chat"},
		"Forbidden: bot was kicked from the channel": {403, storage.ErrRefused, "may not do this"},
		"Bad Request: not enough rights to send documents to the chat":   {400, storage.ErrRefused, "may not do this"},
		"Bad Request: CHAT_WRITE_FORBIDDEN":                              {400, storage.ErrRefused, "may not do this"},
		"Bad Request: CHAT_SEND_DOCS_FORBIDDEN":                          {400, storage.ErrRefused, "may not do this"},
		"Bad Request: need administrator rights in the channel chat":     {400, storage.ErrRefused, "may not do this"},
		"Bad Request: TOPIC_CLOSED":                                      {400, storage.ErrRefused, "topic"},
		"Bad Request: TOPIC_DELETED":                                     {400, storage.ErrRefused, "topic"},
		"Bad Request: message thread not found":                          {400, storage.ErrRefused, "topic"},
		"Request Entity Too Large":                                       {413, storage.ErrRefused, "part_size"},
		"Bad Request: group chat was upgraded to a supergroup chat":      {400, storage.ErrRefused, "supergroup"},
		"Bad Request: something new":                                     {400, storage.ErrRefused, "does not take the request"},
		"Internal Server Error":                                          {500, storage.ErrUnavailable, "cannot be used now"},
		"Bad Gateway":                                                    {502, storage.ErrUnavailable, "cannot be used now"},
		"Conflict: terminated by other long poll or by setWebhook x y z": {409, storage.ErrUnavailable, "cannot be used now"},
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			r, _ := b.repository(t, new(storage.MemoryJournal), telegram.Config{Chat: channel}, nil)
			b.Inject(telegramtest.Fault{Kind: telegramtest.Says, Method: "sendDocument", Times: -1, Code: c.code, Says: says})
			_, err := r.Put(t.Context(), now, strings.NewReader("x"), storagetest.Describe(now, []byte("x")))
			f, ok := errors.AsType[*export.Fault](err)
			if !ok || !errors.Is(err, c.kind) || errors.Is(err, storage.ErrRefused) != errors.Is(c.kind, storage.ErrRefused) ||
				!strings.Contains(f.Message, c.hint) || !strings.Contains(f.Message, says) {
				t.Errorf("%v", err)
			}
		})
	}
	b := setup(t)
	r, _ := b.repository(t, new(storage.MemoryJournal), telegram.Config{Chat: channel}, nil)
	b.Inject(telegramtest.Fault{Kind: telegramtest.HTMLSuccess, Method: "getChat", Times: -1})
	_, err := r.Put(t.Context(), now, strings.NewReader("x"), storagetest.Describe(now, []byte("x")))
	if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrRefused) || !strings.Contains(err.Error(), "is not the Bot API's JSON") {
		t.Errorf("a captive portal: %v", err)
	}
}
