package channels

import (
	"log/slog"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/notify/email"
	"github.com/pgcourier/pgcourier/internal/notify/hooks"
	notifytelegram "github.com/pgcourier/pgcourier/internal/notify/telegram"
	"github.com/pgcourier/pgcourier/internal/notify/webhook"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

// Email returns the sender of SMTP_URL and the parsed URL. It does not connect. Errors are a
// *config.Error.
func Email(c config.Config) (*email.Sender, email.Config, error) {
	server, err := email.ParseURL(c.SMTPURL)
	if err != nil {
		return nil, server, config.Errorf("PGCOURIER_SMTP_URL: %w", err)
	}
	server.Timeout = c.NotifyTimeout
	sender, err := email.New(server)
	if err != nil {
		return nil, server, config.Errorf("PGCOURIER_SMTP_URL: %w", err)
	}
	return sender, server, nil
}

// Webhook returns the sender of WEBHOOK_URL, which signs with each secret of WEBHOOK_SECRET. It
// does not connect. The caller closes it. Errors are a *config.Error.
func Webhook(c config.Config) (*webhook.Sender, error) {
	var secrets []secret.String
	for one := range strings.SplitSeq(c.WebhookSecret.Reveal(), ",") {
		secrets = append(secrets, secret.String(strings.TrimSpace(one)))
	}
	sender, err := webhook.New(webhook.Config{URL: c.WebhookURL, Secrets: secrets, Envelope: c.WebhookBody == config.WebhookStandard})
	if err != nil {
		return nil, config.Errorf("PGCOURIER_WEBHOOK_URL, PGCOURIER_WEBHOOK_SECRET: %w", err)
	}
	return sender, nil
}

// Hooks returns the sender of the chats and heartbeats. The caller closes it.
func Hooks(c config.Config) (*hooks.Sender, error) {
	sender, err := hooks.New(c.NotifyHooks)
	if err != nil {
		return nil, config.Errorf("PGCOURIER_NOTIFY_HOOKS: %w", err)
	}
	return sender, nil
}

// Chat is the chat of NOTIFY_TELEGRAM_CHAT and the bot that writes there.
type Chat struct {
	*notifytelegram.Sender
	// ID is the chat's.
	ID int64
	// Client is the bot. It makes one attempt at each call, because the notifier retries.
	Client *telegram.Client
}

// Telegram returns the chat of NOTIFY_TELEGRAM_CHAT, a chat's id or a location as in STORAGE. It
// does not connect. The caller closes it. Errors are a *config.Error.
func Telegram(c config.Config, log *slog.Logger) (*Chat, error) {
	raw := c.TelegramChat
	if !strings.Contains(raw, "://") {
		raw = "telegram://" + raw
	}
	place, err := telegram.ParseLocation(raw)
	if err != nil {
		return nil, config.Errorf("PGCOURIER_NOTIFY_TELEGRAM_CHAT: %w", err)
	}
	client, err := telegram.NewClient(telegram.ClientConfig{
		Token: c.TelegramToken, BaseURL: place.API, Logger: log,
		Attempts: 1, MaxRetryAfter: time.Nanosecond, // the notifier retries
	})
	if err != nil {
		return nil, config.Errorf("PGCOURIER_NOTIFY_TELEGRAM_CHAT: %w", err)
	}
	return &Chat{notifytelegram.New(client), place.Chat, client}, nil
}

// Close releases the bot's connections.
func (c *Chat) Close() error { return c.Client.Close() }
