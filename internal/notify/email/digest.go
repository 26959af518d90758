package email

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/wneessen/go-mail"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/notify"
)

// SendDigest sends one mail about several events to their recipient. The same notifications in the
// same order have the same Message-ID.
func (s *Sender) SendDigest(ctx context.Context, all []notify.Notification) error {
	m, err := s.composeDigest(all)
	if err != nil {
		return err
	}
	return s.deliver(ctx, m)
}

func (s *Sender) composeDigest(all []notify.Notification) (*mail.Msg, error) {
	decoded := make([]events.Event, len(all))
	id := sha256.New()
	for i, n := range all {
		var err error
		if decoded[i], err = n.Event.Decode(); err != nil {
			return nil, &notify.PermanentError{Reason: "an event cannot be read", Err: err}
		}
		id.Write([]byte(n.Key + "\n")) // never fails
	}
	d := notify.SummarizeAll(decoded)
	return s.write(all[0].Recipient, "email-digest-"+hex.EncodeToString(id.Sum(nil)[:16]), d.Headline, textDigestTemplate, htmlDigestTemplate, d)
}
