package telegram_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	notifytelegram "github.com/pgcourier/pgcourier/internal/notify/telegram"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

func TestCheckFindsWhetherTheBotMaySpeak(t *testing.T) {
	t.Parallel()
	server, err := telegramtest.Start(telegramtest.Config{Clock: telegramtest.NewClock(time.Now())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	const group, channel = int64(-100), int64(-200)
	token := server.AddBot("courier")
	for id, kind := range map[int64]string{chat: "private", group: "group", channel: "channel"} {
		server.AddChat(telegramtest.Chat{ID: id, Type: kind})
		server.SetMember(id, token, telegramtest.Admin())
	}
	client, err := telegram.NewClient(telegram.ClientConfig{Token: secret.String(token), BaseURL: server.URL(), Attempts: 1, MaxRetryAfter: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	for _, id := range []int64{chat, group, channel} {
		if err := notifytelegram.Check(t.Context(), client, id); err != nil {
			t.Errorf("chat %d: %v", id, err)
		}
	}
	server.SetMember(group, token, telegramtest.Member{Status: "kicked"})
	server.SetMember(channel, token, telegramtest.Member{Status: "administrator"})
	for _, id := range []int64{group, channel, 77} {
		if err := notifytelegram.Check(t.Context(), client, id); err == nil {
			t.Errorf("chat %d: the bot may write there", id)
		}
	}
	if n := len(server.Messages(chat)); n != 0 {
		t.Errorf("%d messages were sent", n)
	}
	if err := notifytelegram.New(client).SendTest(t.Context(), chat); err != nil || len(server.Messages(chat)) != 1 {
		t.Errorf("the test: %v", err)
	}
	server.Revoke(token)
	err = notifytelegram.Check(t.Context(), client, chat)
	if api, ok := errors.AsType[*telegram.APIError](err); !ok || api.Reason() != telegram.Unauthorized {
		t.Errorf("a revoked token: %v", err)
	}
}
