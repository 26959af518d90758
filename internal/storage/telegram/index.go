package telegram

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// errIndexHidden says that the chat's newest pinned message is not the index.
var errIndexHidden = errors.New("another message is pinned above the index, or instead of it; unpin it")

// Index returns the document in the chat's pinned index message, or nil when nothing is
// pinned. Telegram shows a bot only the pinned message that was sent last; if that is
// another one, it cannot be told whether an index exists, and Index fails with
// storage.ErrRefused sooner than let it be begun anew. A document that a writer replaces meanwhile is
// looked up again.
func (d *Driver) Index(ctx context.Context) ([]byte, error) {
	for last := ""; ; {
		m, _, err := d.pinned(ctx)
		if err != nil || m == nil {
			return nil, err
		}
		doc, err := d.fetchIndex(ctx, m)
		switch {
		case err == nil:
			return doc, nil
		case reasonOf(err) != FileUnavailable || m.Document.FileID == last:
			return nil, explain("fetch the index", err)
		}
		// A writer may have replaced the document since it was looked up.
		last = m.Document.FileID
	}
}

func (d *Driver) fetchIndex(ctx context.Context, m *Message) ([]byte, error) {
	body, err := d.client.Fetch(ctx, m.Document.FileID, m.Document.Size, 0)
	if err != nil {
		return nil, err
	}
	doc, err := io.ReadAll(body)
	return doc, errors.Join(err, body.Close())
}

// SetIndex replaces the document in the index message, in place. The first time, and when
// the index belongs to another bot, it sends a new message and pins it.
func (d *Driver) SetIndex(ctx context.Context, doc []byte) error {
	if int64(len(doc)) > d.partSize && len(doc) > MaxCloudPart {
		return fmt.Errorf("write the index: %w: it has outgrown one document", storage.ErrFull)
	}
	m, here, err := d.pinned(ctx)
	if err != nil {
		return err
	}
	u := Upload{
		Name: indexName, Caption: "pgcourier\nindex: leave it pinned, and pin nothing after it",
		Body: bytes.NewReader(doc), Size: int64(len(doc)), Topic: d.topic,
	}
	if m != nil && here {
		_, err := d.client.Edit(ctx, d.home(), m.ID, u)
		if err == nil || reasonOf(err) == Unchanged {
			return nil
		}
		if r := reasonOf(err); r != EditRefused && r != MessageNotFound {
			return explain("write the index", err)
		}
	}
	sent, err := d.client.Send(ctx, d.chat, u)
	if err != nil {
		return explain("write the index", err)
	}
	if err := d.client.Pin(ctx, d.home(), sent.ID); err != nil {
		return explain("pin the index", errors.Join(err, d.discard(ctx, sent.ID)))
	}
	return nil
}

// pinned returns the index message, or nil when nothing is pinned. here is false when it is
// pinned in the group that the chat was: it can be read there and not changed.
func (d *Driver) pinned(ctx context.Context) (m *Message, here bool, err error) {
	if err := d.learn(ctx); err != nil {
		return nil, false, err
	}
	chat, err := d.client.Chat(ctx, d.chat)
	if err != nil {
		return nil, false, explain("look for the index", err)
	}
	if m, err := indexOf(chat); m != nil || err != nil {
		return m, true, err
	}
	was := d.former()
	if was == 0 {
		return nil, true, nil
	}
	// Not to begin it anew: the exports of that time would be lost.
	if chat, err = d.client.formerChat(ctx, was); err != nil {
		return nil, false, explain(fmt.Sprintf("look for the index in the chat's former id %d", was), err)
	}
	m, err = indexOf(chat)
	return m, false, err
}

func indexOf(chat Chat) (*Message, error) {
	switch m := chat.Pinned; {
	case m == nil:
		return nil, nil //nolint:nilnil // documented: there is none
	case m.Document == nil || m.Document.Name != indexName:
		return nil, fmt.Errorf("look for the index: %w: message %d: %w", storage.ErrRefused, m.ID, errIndexHidden)
	default:
		return m, nil
	}
}
