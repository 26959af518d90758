// Package telegram sends a short message about an export to a chat. It uses the client of the
// Telegram storage and keeps the rate that the service allows for a chat.
package telegram

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

// Client is the Bot API.
type Client interface {
	SendMessage(ctx context.Context, chat int64, text string) (telegram.Message, error)
}

var _ Client = (*telegram.Client)(nil)

// limit bounds the length of a text, below Telegram's limit of 4,096 characters.
const limit = 4000

// Sender sends messages. It is safe for concurrent use.
type Sender struct{ client Client }

var _ notify.Sender = (*Sender)(nil)

// New returns a sender. The client should make one attempt at each call and ignore retry_after,
// because the notifier retries.
func New(client Client) *Sender { return &Sender{client: client} }

// Send sends a notification to the chat of its recipient.
func (s *Sender) Send(ctx context.Context, n notify.Notification) error {
	chat, err := strconv.ParseInt(n.Recipient, 10, 64)
	if err != nil {
		return &notify.PermanentError{Reason: "the recipient is not a chat's id"}
	}
	of, err := n.Event.Decode()
	if err != nil {
		return &notify.PermanentError{Reason: "the event cannot be read", Err: err}
	}
	if _, err := s.client.SendMessage(ctx, chat, notify.Summarize(of).Text(limit, utf8.RuneCountInString)); err != nil {
		return classify(fmt.Errorf("send to the chat: %w", err))
	}
	return nil
}

// classify separates transient errors from permanent ones. A refused token is transient, because
// the operator can replace it.
func classify(err error) error {
	api, ok := errors.AsType[*telegram.APIError](err)
	switch {
	case !ok, api.Code == http.StatusUnauthorized, api.Code == http.StatusNotFound:
		return err
	case api.RetryAfter > 0:
		return &notify.DelayError{After: api.RetryAfter, Err: err}
	case api.Transient():
		return err
	}
	return &notify.PermanentError{Reason: "Telegram refuses the message", Err: err}
}
