package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"net/textproto"

	"github.com/pgcourier/pgcourier/internal/notify/channels"
	"github.com/pgcourier/pgcourier/internal/notify/post"
	notifytelegram "github.com/pgcourier/pgcourier/internal/notify/telegram"
	"github.com/pgcourier/pgcourier/internal/notify/webhook"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

const (
	mailFix    = "correct PGCOURIER_SMTP_URL: see docs/notifications.md"
	webhookFix = "correct PGCOURIER_WEBHOOK_URL or PGCOURIER_WEBHOOK_SECRET: see docs/notifications.md"
	hooksFix   = "correct PGCOURIER_NOTIFY_HOOKS: see docs/notifications.md"
	chatFix    = "correct PGCOURIER_NOTIFY_TELEGRAM_CHAT or PGCOURIER_TELEGRAM_TOKEN, and let the bot write in the chat: see docs/notifications.md"
)

// checkMail goes as far as the login, and with --send-test sends a mail.
func (x *examiner) checkMail(ctx context.Context, r *Report) {
	c := x.Settings
	if c.SMTPURL == "" {
		r.Skip("", "not set up")
		return
	}
	sender, server, err := channels.Email(c)
	if err != nil {
		r.Add("", Finding{State: Fault, Found: err.Error(), Fix: mailFix})
		return
	}
	cert, err := sender.Check(ctx)
	if err != nil {
		f := errorFinding(err, "PGCOURIER_SMTP_URL", mailFix)
		if said, ok := errors.AsType[*textproto.Error](err); ok && said.Code/100 == 5 {
			f.State, f.Fix = Fault, "correct the user or the password in PGCOURIER_SMTP_URL"
		}
		r.Add("", f)
		return
	}
	r.OK("", "it takes mail from %s", server.From.Address)
	x.checkCertificate(cert, r)
	if x.SendTest && len(c.OperatorEmail) == 0 {
		r.Skip("test", "OPERATOR_EMAIL is empty: the test has no recipient")
	}
	for _, to := range c.OperatorEmail {
		if x.SendTest {
			x.reportTest(r, sender.SendTest(ctx, to), "a mail to "+to, "PGCOURIER_SMTP_URL", mailFix)
		}
	}
}

// checkWebhook connects, and with --send-test posts an event that is none of the contract.
func (x *examiner) checkWebhook(ctx context.Context, r *Report) {
	if x.Settings.WebhookURL == "" {
		r.Skip("", "not set up")
		return
	}
	sender, err := channels.Webhook(x.Settings)
	if err != nil {
		r.Add("", Finding{State: Fault, Found: err.Error(), Fix: webhookFix})
		return
	}
	defer func() { _ = sender.Close() }()
	cert, err := sender.Check(ctx)
	switch {
	case errors.Is(err, post.ErrProxied):
		r.Add("", Finding{State: Unknown, Found: err.Error() + ", so only --send-test tells whether it works"})
	case err != nil:
		r.Add("", errorFinding(err, "PGCOURIER_WEBHOOK_URL", webhookFix))
		return
	default:
		r.OK("", "its server takes connections")
		x.checkCertificate(cert, r)
	}
	if x.SendTest {
		x.reportTest(r, sender.SendTest(ctx), "an event of the type "+webhook.TestType, "PGCOURIER_WEBHOOK_URL", webhookFix)
	}
}

// checkChat asks for the bot and the chat, and with --send-test sends a message.
func (x *examiner) checkChat(ctx context.Context, r *Report) {
	if x.Settings.TelegramChat == "" {
		r.Skip("", "not set up")
		return
	}
	chat, err := channels.Telegram(x.Settings, x.log)
	if err != nil {
		r.Add("", Finding{State: Fault, Found: err.Error(), Fix: chatFix})
		return
	}
	defer func() { _ = chat.Close() }()
	if err := notifytelegram.Check(ctx, chat.Client, chat.ID); err != nil {
		f := errorFinding(err, "PGCOURIER_NOTIFY_TELEGRAM_CHAT", chatFix)
		if api, ok := errors.AsType[*telegram.APIError](err); ok && api.Transient() {
			f.State, f.Fix = Unreachable, "try again later"
		}
		r.Add("", f)
		return
	}
	r.OK("", "the bot may write in chat %d", chat.ID)
	if x.SendTest {
		x.reportTest(r, chat.SendTest(ctx, chat.ID), "a message", "PGCOURIER_NOTIFY_TELEGRAM_CHAT", chatFix)
	}
}

// checkHooks connects to each chat and heartbeat, and with --send-test writes into each chat. A
// heartbeat gets no test: it would say that exports complete.
func (x *examiner) checkHooks(ctx context.Context, r *Report) {
	if x.Settings.NotifyHooks == "" {
		r.Skip("", "not set up")
		return
	}
	sender, err := channels.Hooks(x.Settings)
	if err != nil {
		r.Add("", Finding{State: Fault, Found: err.Error(), Fix: hooksFix})
		return
	}
	defer func() { _ = sender.Close() }()
	for _, name := range sender.Names() {
		cert, err := sender.Check(ctx, name)
		switch {
		case errors.Is(err, post.ErrProxied):
			r.Add(name, Finding{State: Unknown, Found: err.Error() + ", so only --send-test tells whether it works"})
		case err != nil:
			r.Add(name, errorFinding(err, "PGCOURIER_NOTIFY_HOOKS", hooksFix))
		default:
			r.OK(name, "its server takes connections")
			if cert != nil {
				r.Add(name+"/certificate", Certificate(cert, x.Now()))
			}
		}
	}
	if !x.SendTest {
		return
	}
	for _, name := range sender.Chats() {
		if err := sender.SendTest(ctx, name); err != nil {
			r.Add(name+"/test", errorFinding(err, "PGCOURIER_NOTIFY_HOOKS", hooksFix))
		} else {
			r.OK(name+"/test", "a message was taken")
		}
	}
}

func (x *examiner) checkCertificate(cert *x509.Certificate, r *Report) {
	if cert != nil {
		r.Add("certificate", Certificate(cert, x.Now()))
	}
}

func (x *examiner) reportTest(r *Report, err error, what, address, fix string) {
	if err != nil {
		r.Add("test", errorFinding(err, address, fix))
		return
	}
	r.OK("test", "%s was taken", what)
}
