package notify

import (
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/events"
)

// Policy says which recipients get which events.
type Policy struct {
	// Channels are those that are set up.
	Channels []Channel
	// Domains are the mail domains that a request's notify_email may name, in lower case.
	// A subdomain is another domain. None: no request's address is written to.
	Domains []string
	// Operators are the mail addresses that are told of each failed export and of each failed
	// verification.
	Operators []string
	// Chat is the Telegram chat that is told of the same.
	Chat string
	// Hooks are the chats of other services that are told of the same, by name.
	Hooks []string
	// Alive are the heartbeats that hear of each completed export, Dead those that hear of each
	// failed export and each failed verification, by name.
	Alive, Dead []string
	// Completed tells the operators and the chat of completed exports too. The webhook is
	// told of every event, and a request's address of its own outcome.
	Completed bool
	// Expiring tells the operators and the chat of exports that will be deleted too.
	Expiring bool
}

// recipients lists the recipients of an event, each once.
func (p Policy) recipients(of events.Event) []target {
	var all []target
	add := func(c Channel, recipient string) {
		t := target{c, recipient}
		if recipient != "" && slices.Contains(p.Channels, c) && !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	// What opens a customer's file is not for the operators or the chat.
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

// permits holds a notification to the policy of now, which may not be that of the time when
// it was queued. The error is a *PermanentError.
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
