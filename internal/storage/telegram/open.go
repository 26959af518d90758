package telegram

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// Open fetches a part. If its file id is of no use, because another bot stored it or
// Telegram dropped it, the message is forwarded within the chat, which gives this bot a
// file id of its own, and the copy is removed when the reader is closed.
//
// Telegram does not say whether a message still exists: the file of a message that a human
// deleted may be readable for a while.
func (d *Driver) Open(ctx context.Context, ref storage.Ref, offset int64) (io.ReadCloser, error) {
	r, err := d.own(ctx, ref)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("fetch message %d", r.message)
	if r.bot == d.bot {
		body, err := d.client.Fetch(ctx, r.fileID, r.size, offset)
		if err == nil {
			return &blob{body: body, what: what}, nil
		}
		if reasonOf(err) != FileUnavailable {
			return nil, explain(what, err)
		}
	}
	body, err := d.openForwarded(ctx, r, offset)
	if err != nil {
		return nil, explain(what, err)
	}
	body.what = what
	return body, nil
}

func (d *Driver) openForwarded(ctx context.Context, r reference, offset int64) (*blob, error) {
	m, err := d.client.Forward(ctx, d.chat, d.topic, r.chat, r.message)
	if err != nil {
		return nil, err
	}
	done := func() error { return d.discard(ctx, m.ID) }
	switch doc := m.Document; {
	case doc == nil || doc.Name == tombstoneName:
		err = storage.ErrNotFound
	case doc.Size != r.size:
		err = fmt.Errorf("%w: %d bytes instead of %d", storage.ErrDamaged, doc.Size, r.size)
	default:
		var body io.ReadCloser
		if body, err = d.client.Fetch(ctx, doc.FileID, r.size, offset); err == nil {
			return &blob{body: body, done: done}, nil
		}
	}
	return nil, errors.Join(err, done())
}

// blob is a part being read.
type blob struct {
	body io.ReadCloser
	what string
	done func() error // removes the forwarded copy; nil: there is none
}

func (b *blob) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, explain(b.what, err)
}

// Close ends the reading. A forwarded copy that could not be removed again is no fault of the bytes
// that were read: the copy stays in the chat, where a human sees and may delete it.
func (b *blob) Close() error {
	err := b.body.Close()
	if b.done != nil {
		_ = b.done()
		b.done = nil
	}
	if err != nil {
		return explain(b.what, err)
	}
	return nil
}

// hints say what an operator can do. Waiting helps none of them.
var hints = map[Reason]string{
	Unauthorized:     "the bot's token is refused; was it revoked, or is the base URL wrong?",
	ChatNotFound:     "there is no such chat for this bot; is the id right and the bot in it?",
	Forbidden:        "the bot may not do this; was it removed from the chat, or does it lack a right?",
	ChatMigrated:     "the group became a supergroup with another id",
	TooLarge:         "the part is larger than the server takes; lower part_size",
	TooLargeToFetch:  "the part is larger than the server gives back; lower part_size",
	TopicClosed:      "the topic is closed or gone; open it, or correct message_thread_id",
	ContentProtected: "the chat's content is protected; switch that off",
	EditRefused:      "the message belongs to another bot",
}

// explain puts an error of the client into the words of the storage contract.
func explain(what string, err error) error {
	for _, known := range []error{storage.ErrNotFound, storage.ErrDamaged, storage.ErrForeign, storage.ErrFull, storage.ErrUnavailable} {
		if errors.Is(err, known) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	reason := reasonOf(err)
	if reason == MessageNotFound {
		return fmt.Errorf("%s: %w: %w", what, storage.ErrNotFound, err)
	}
	if reason == FileUnavailable { // of a message that is there: Telegram says the same of what is gone for the moment
		return fmt.Errorf("%s: %w: %w", what, storage.ErrUnavailable, err)
	}
	api, isAnswer := errors.AsType[*APIError](err)
	_, lost := errors.AsType[*TransportError](err)
	switch {
	case !isAnswer && !lost:
		return fmt.Errorf("%s: %w", what, err) // of the caller's body or context
	case lost:
		return fmt.Errorf("%s: %w: %w", what, storage.ErrUnavailable, err)
	}
	a := &storage.Answer{
		Kind: storage.ErrUnavailable, What: "Telegram cannot be used now", Said: storage.Words(fmt.Sprintf("%d %s", api.Code, api.Description)), Err: err,
	}
	switch hint := hints[reason]; {
	case hint != "":
		a.Kind, a.What = storage.ErrRefused, "Telegram refuses: "+hint
	case api.Code == http.StatusBadRequest && reason == Unclassified: // it would be the next time too
		a.Kind, a.What = storage.ErrRefused, "Telegram does not take the request"
	}
	if api.MigrateTo != 0 {
		a.What += fmt.Sprintf(", %d", api.MigrateTo)
	}
	return fmt.Errorf("%s: %w", what, a)
}

// answered reports whether the Bot API refused a call for good.
func answered(err error) bool {
	e, ok := errors.AsType[*APIError](err)
	return ok && !e.Transient() && e.Code != http.StatusUnauthorized && e.Reason() != MessageNotFound
}
