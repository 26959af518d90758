package notify

import (
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/events"
)

// Policy decides which recipients get which events.
type Policy struct {
	// Channels are the configured channels.
	Channels []Channel
	// Domains are the mail domains that notify_email of a request may use, in lower case. A subdomain
	// is another domain. Empty: mail is never sent to an address from a request.
	Domains []string
	// Operators are the mail addresses that get each failed export and each failed verification.
	Operators []string
	// Chat is the Telegram chat that gets the same events as Operators.
	Chat string
	// Hooks are the names of the chats of other services that get the same events as Operators.
	Hooks []string
	// Alive are the names of the heartbeats for completed exports. Dead are those for failed exports
	// and failed verifications.
	Alive, Dead []string
	// Completed sends completed exports to the operators and chats too. The webhook gets every event,
	// and the address in a request always gets that request's outcome.
	Completed bool
	// Expiring sends coming deletions to the operators and chats too.
	Expiring bool
}

// recipients returns the recipients of an event without duplicates.
func (p Policy) recipients(of events.Event) []target {
	var all []target
	add := func(c Channel, recipient string) {
		t := target{c, recipient}
		if recipient != "" && slices.Contains(p.Channels, c) && !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	// A link opens a customer's file, so the operators and chats do not get it.
	if of.LinkIssued != nil {
		add(Email, of.LinkIssued.NotifyEmail)
	}
	add(Email, notifyEmail(of.Outcome))
	if of.Failed != nil || of.VerificationFailed != nil || of.Completed != nil && p.Completed || of.Expiring != nil && p.Expiring {
		for _, address := range p.Operators {
			add(Email, address)
		}
		add(Telegram, p.Chat)
		for _, hook := range p.Hooks {
			add(Hook, hook)
		}
	}
	beats := p.Alive
	if of.Failed != nil || of.VerificationFailed != nil {
		beats = p.Dead
	}
	if of.Completed != nil || of.Failed != nil || of.VerificationFailed != nil {
		for _, hook := range beats {
			add(Hook, hook)
		}
	}
	add(Webhook, WebhookRecipient)
	return all
}

type target struct {
	channel   Channel
	recipient string
}

func notifyEmail(out events.Outcome) string {
	switch {
	case out.Completed != nil && out.Completed.Request != nil:
		return out.Completed.Request.NotifyEmail
	case out.Failed != nil && out.Failed.Request != nil:
		return out.Failed.Request.NotifyEmail
	}
	return ""
}

// permits checks a notification against the current policy, which may have changed since the
// notification was queued. The error is a *PermanentError.
func (p Policy) permits(n Notification) error {
	if n.Channel != Email || slices.Contains(p.Operators, n.Recipient) {
		return nil
	}
	_, domain, ok := strings.Cut(n.Recipient, "@")
	if !ok || !slices.Contains(p.Domains, strings.ToLower(domain)) {
		return &PermanentError{Reason: "the address is outside the domains that may be written to"}
	}
	return nil
}

// gathers reports that n may wait for others and go with them in one message: it is a mail to an
// operator. A download link does not wait.
func (p Policy) gathers(n Notification) bool {
	return n.Channel == Email && slices.Contains(p.Operators, n.Recipient) && n.Event.LinkIssued() == nil
}
