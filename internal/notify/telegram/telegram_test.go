package telegram_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/notify"
	notifytelegram "github.com/pgcourier/pgcourier/internal/notify/telegram"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const chat = int64(4242)

func note(t *testing.T, recipient, text string) notify.Notification {
	t.Helper()
	m, err := events.Failed{
		RequestID: "r1", ProjectID: "acme", Attempts: 3, Code: codes.DumpTimeout, Message: text,
		FinishedAt: time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC), RequestedBy: "<b>eve</b>\u202egpj\u200b\u2066",
	}.Encode("test")
	if err != nil {
		t.Fatal(err)
	}
	return notify.Notification{Key: "telegram-abc", Channel: notify.Telegram, Recipient: recipient, Event: notify.Event{Subject: m.Subject, Header: m.Header, Body: m.Body}}
}

func TestAChatGetsAMessage(t *testing.T) {
	t.Parallel()
	clock := telegramtest.NewClock(time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC))
	server, err := telegramtest.Start(telegramtest.Config{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	server.AddChat(telegramtest.Chat{ID: chat, Type: "private"})
	token := server.AddBot("courier")
	server.SetMember(chat, token, telegramtest.Admin())
	sender := func(token string) *notifytelegram.Sender {
		client, err := telegram.NewClient(telegram.ClientConfig{Token: secret.String(token), BaseURL: server.URL(), Attempts: 1, MaxRetryAfter: time.Nanosecond, Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		return notifytelegram.New(client)
	}
	s := sender(token)
	id := strconv.FormatInt(chat, 10)
	if err := s.Send(t.Context(), note(t, id, strings.Repeat("long ", 1000))); err != nil {
		t.Fatal(err)
	}
	messages := server.Messages(chat)
	if len(messages) != 1 || !strings.HasPrefix(messages[0].Text, "Export of acme failed (dump_timeout)\n\nrequest: r1\ncause: dump_timeout: long long") || !strings.Contains(messages[0].Text, "<b>eve</b>") {
		t.Errorf("the chat holds %+v", messages)
	}
	for _, r := range messages[0].Text {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("the chat is shown %q", r)
		}
	}
	// Another client does not know the pace of the first one, and Telegram tells it to wait.
	err = sender(token).Send(t.Context(), note(t, id, "x"))
	if d, ok := errors.AsType[*notify.DelayError](err); !ok || d.After <= 0 {
		t.Errorf("too soon: %v", err)
	}
	permanent := func(err error) bool { _, ok := errors.AsType[*notify.PermanentError](err); return ok }
	if err := s.Send(t.Context(), note(t, "1", "x")); !permanent(err) {
		t.Errorf("an unknown chat: %v", err)
	}
	if err := s.Send(t.Context(), note(t, "somebody", "x")); !permanent(err) {
		t.Errorf("no chat: %v", err)
	}
	server.Revoke(token)
	if err := s.Send(t.Context(), note(t, id, "x")); err == nil || permanent(err) || strings.Contains(err.Error(), token) {
		t.Errorf("a revoked token: %v", err)
	}
}
