package channels_test

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/notify/channels"
)

func ExampleWebhook() {
	_, err := channels.Webhook(config.Config{Notify: config.Notify{WebhookURL: "example.org"}})
	fmt.Println(err)
	// Output: PGCOURIER_WEBHOOK_URL, PGCOURIER_WEBHOOK_SECRET: configure webhook: the URL is not an http or https address
}

func TestAFaultNamesItsSetting(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	_, _, mail := channels.Email(config.Config{Notify: config.Notify{SMTPURL: "ftp://example.org"}})
	_, chat := channels.Telegram(config.Config{Notify: config.Notify{TelegramChat: "somewhere"}}, log)
	_, token := channels.Telegram(config.Config{Notify: config.Notify{TelegramChat: "-100"}}, log)
	for name, err := range map[string]error{"mail": mail, "chat": chat, "token": token} {
		if _, fault := errors.AsType[*config.Error](err); !fault {
			t.Errorf("%s: %v is no fault of a setting", name, err)
		}
	}
}

func TestAChatIsNamedByItsIDOrItsLocation(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"-100", "telegram://-100?api=https%3A%2F%2Fbots.example.org"} {
		chat, err := channels.Telegram(config.Config{Notify: config.Notify{TelegramChat: name}, TelegramToken: "123456:abcdefghijklmnopqrstuvwxyz0123456789"}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if chat.ID != -100 {
			t.Errorf("%s is chat %d", name, chat.ID)
		}
		if err := chat.Close(); err != nil {
			t.Error(err)
		}
	}
}
