package config

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/secret"
)

// Notify is what the role notifier reads.
type Notify struct {
	SMTPURL        secret.String `env:"SMTP_URL" help:"mail server of the notifier: smtp://user:pw@host?from=address (STARTTLS is required) or smtps://; see docs/notifications.md; empty: no mail"`
	OperatorEmail  []string      `env:"OPERATOR_EMAIL" help:"mail addresses, separated by commas, that get a mail for each failed export and each failed verification"`
	NotifyDomains  []string      `env:"NOTIFY_DOMAINS" help:"mail domains, separated by commas, that the notify_email of a request may use; subdomains are not included; empty: none"`
	WebhookURL     secret.String `env:"WEBHOOK_URL" whole:"true" help:"address that each outcome is posted to, with a signature of Standard Webhooks; empty: no webhook"`
	WebhookSecret  secret.String `env:"WEBHOOK_SECRET" whole:"true" help:"secret that signs the webhook: whsec_ and 24 to 64 bytes in base64; several, separated by commas, add a signature each"`
	WebhookBody    string        `env:"WEBHOOK_BODY" envDefault:"event" help:"body of the webhook. event: the event as it is in the broker; standard: the body of Standard Webhooks, {type, timestamp, data}, with the event as data"`
	TelegramChat   string        `env:"NOTIFY_TELEGRAM_CHAT" help:"id of the chat to which the bot of TELEGRAM_TOKEN sends a message for each failed export and each failed verification; empty: none"`
	NotifyHooks    secret.String `env:"NOTIFY_HOOKS" whole:"true" help:"chats and heartbeats, separated by commas: slack+https://..., discord+..., teams+..., ntfy+..., heartbeat+...; see docs/notifications.md; empty: none"`
	NotifyComplete bool          `env:"NOTIFY_COMPLETED" envDefault:"false" help:"true: notify OPERATOR_EMAIL, NOTIFY_TELEGRAM_CHAT and the chats of NOTIFY_HOOKS of completed exports too"`
	NotifyExpiring bool          `env:"NOTIFY_EXPIRING" envDefault:"false" help:"true: notify OPERATOR_EMAIL, NOTIFY_TELEGRAM_CHAT and the chats of NOTIFY_HOOKS of exports that retention will delete too"`
	NotifyBackoff  time.Duration `env:"NOTIFY_BACKOFF" envDefault:"30s" help:"pause after the first failed try of a notification; it doubles with each try, up to 720 times the first (6 hours)"`
	NotifyTries    int           `env:"NOTIFY_TRIES" envDefault:"20" help:"how many times a notification is tried before it is parked; with the default pauses this takes two and a half days"`
	NotifyDigest   time.Duration `env:"NOTIFY_DIGEST" envDefault:"1m" help:"after a mail to an OPERATOR_EMAIL, further mails to it wait until this time has passed and are sent as one; 0: each event is a mail of its own"`
	NotifyTimeout  time.Duration `env:"NOTIFY_TIMEOUT" envDefault:"30s" help:"longest time of one try of a notification"`
}

// The values of WebhookBody.
const (
	WebhookEvent    = "event"
	WebhookStandard = "standard"
)

// Configured reports whether a channel is configured.
func (n Notify) Configured() bool {
	return n.SMTPURL != "" || n.WebhookURL != "" || n.TelegramChat != "" || n.NotifyHooks != ""
}

// validate reports all that is out of range or contradicts itself.
func (n Notify) validate(token secret.String, roles []string) error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(Prefix+format, args...))
		}
	}
	for _, a := range n.OperatorEmail {
		parsed, err := mail.ParseAddress(a)
		check(err == nil && parsed.Address == a, "OPERATOR_EMAIL: %q is not a plain mail address", a)
		local, _, _ := strings.Cut(a, "@")
		check(!strings.ContainsFunc(local, func(r rune) bool { return r > '~' }),
			"OPERATOR_EMAIL: %q has characters other than ASCII before the @, which many mail servers refuse", a)
	}
	for _, d := range n.NotifyDomains {
		check(d != "" && d == strings.ToLower(d) && !strings.ContainsAny(d, "@* \t\r\n"), "NOTIFY_DOMAINS: %q is not a domain in lower case, such as example.org", d)
	}
	check(len(n.OperatorEmail) == 0 || n.SMTPURL != "", "OPERATOR_EMAIL needs SMTP_URL")
	check((n.WebhookURL == "") == (n.WebhookSecret == ""), "WEBHOOK_URL and WEBHOOK_SECRET go together: set both or neither")
	check(n.WebhookBody == WebhookEvent || n.WebhookBody == WebhookStandard, "WEBHOOK_BODY: %q is not event or standard", n.WebhookBody)
	check(n.TelegramChat == "" || token != "", "NOTIFY_TELEGRAM_CHAT needs TELEGRAM_TOKEN")
	check(n.NotifyBackoff > 0, "NOTIFY_BACKOFF: %s is not positive", n.NotifyBackoff)
	check(n.NotifyDigest >= 0, "NOTIFY_DIGEST: %s is negative", n.NotifyDigest)
	check(n.NotifyTimeout > 0, "NOTIFY_TIMEOUT: %s is not positive", n.NotifyTimeout)
	check(n.NotifyTries >= 1, "NOTIFY_TRIES: %d is not at least 1", n.NotifyTries)
	for _, r := range roles {
		check(r != RoleNotifier || n.Configured(), "ROLES: notifier needs SMTP_URL, WEBHOOK_URL, NOTIFY_TELEGRAM_CHAT or NOTIFY_HOOKS")
	}
	return errors.Join(faults...)
}
