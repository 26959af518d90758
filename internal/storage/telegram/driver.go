package telegram

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/storage"
)

const scheme = "telegram"

// cleanupTimeout bounds the removal of what a failed or finished call left in the chat.
const cleanupTimeout = 30 * time.Second

// Config says where a Driver stores.
type Config struct {
	// Client speaks to the Bot API. Required; its owner closes it after the driver's
	// last use.
	Client *Client
	// Chat is the chat's id. Required.
	Chat int64
	// Was is the id that the chat had as a group, before it became a supergroup. What was stored
	// then is found by it. Default: none.
	Was int64
	// Topic is the forum's topic to store in (message_thread_id). Default: none.
	Topic int64
	// PartSize is the most bytes of one part, two of which are held in memory. Default:
	// DefaultPartSize. At most MaxCloudPart, or MaxLocalPart with another base URL than
	// Telegram's own.
	PartSize int64
}

// Driver keeps blobs as documents in one chat. It is safe for concurrent use; several
// processes may share a chat, at the price of being told to wait now and then.
type Driver struct {
	client   *Client
	chat     int64
	was      int64 // 0: no former id is known
	topic    int64
	bot      int64 // this bot's id, which is the first half of its token
	partSize int64
}

var _ storage.Indexer = (*Driver)(nil)

// New returns a driver. It makes no call; see Check.
func New(cfg Config) (*Driver, error) {
	if cfg.Client == nil || cfg.Chat == 0 {
		return nil, errors.New("configure telegram storage: client and chat are required")
	}
	if cfg.PartSize == 0 {
		cfg.PartSize = DefaultPartSize
	}
	most := int64(MaxCloudPart)
	if cfg.Client.baseURL != DefaultBaseURL {
		most = MaxLocalPart
	}
	if cfg.PartSize < 1 || cfg.PartSize > most {
		return nil, fmt.Errorf("configure telegram storage: a part of %d bytes is outside 1 to %d, and could never be read back", cfg.PartSize, most)
	}
	id, _, _ := strings.Cut(cfg.Client.token.Reveal(), ":")
	bot, err := strconv.ParseInt(id, 10, 64)
	if err != nil || bot <= 0 {
		return nil, errors.New("configure telegram storage: the token names no bot")
	}
	return &Driver{client: cfg.Client, chat: cfg.Chat, was: cfg.Was, topic: cfg.Topic, bot: bot, partSize: cfg.PartSize}, nil
}

// Traits says that blobs are at most one part large.
func (d *Driver) Traits() storage.Traits {
	return storage.Traits{Scheme: scheme, MaxBlob: d.partSize}
}

// URI is telegram://CHAT_ID/KEY?message=ID, with the id of the manifest's message.
func (d *Driver) URI(key string, manifest storage.Ref) string {
	u := url.URL{Scheme: scheme, Host: strconv.FormatInt(d.chat, 10), Path: "/" + key}
	if r, err := parseReference(manifest); err == nil {
		u.Host = strconv.FormatInt(r.chat, 10)
		u.RawQuery = "message=" + strconv.FormatInt(r.message, 10)
	}
	return u.String()
}

// Put sends the blob as one document. When ctx ends while only the answer is missing, Put
// waits for it for a short while and may then succeed. If the answer never comes although
// Telegram accepted the document, that stays in the chat as an orphan that nothing refers to.
func (d *Driver) Put(ctx context.Context, b storage.Blob) (storage.Stored, error) {
	body, size, err := d.replayable(b)
	if err != nil {
		return storage.Stored{}, fmt.Errorf("store %s: %w", b.Name, err)
	}
	b.Size = size
	m, err := d.client.Send(ctx, d.chat, Upload{
		Name: fileName(b.Name, b.Parts), Caption: caption(b), Body: body, Size: size, Topic: d.topic,
	})
	if err != nil {
		if m.ID != 0 { // accepted, but not what was sent
			err = errors.Join(err, d.discard(ctx, m.ID))
		}
		return storage.Stored{}, explain(fmt.Sprintf("store %s", b.Name), err)
	}
	r := reference{bot: d.bot, chat: d.home(), message: m.ID, size: size, sha256: b.SHA256, fileID: m.Document.FileID}
	if !plainFileID(r.fileID) {
		err := fmt.Errorf("store %s: %w: the file id is not one", b.Name, storage.ErrUnavailable)
		return storage.Stored{}, errors.Join(err, d.discard(ctx, m.ID))
	}
	// Telegram tells the size only, no hash: the repository reads the part back.
	return storage.Stored{Ref: r.ref()}, nil
}

// replayable returns the blob's body such that it can be sent more than once. The
// repository gives it in memory already; anything else is read into memory first.
func (d *Driver) replayable(b storage.Blob) (io.ReadSeeker, int64, error) {
	if err := b.Name.Check(); err != nil {
		return nil, 0, err
	}
	limit := d.partSize
	if b.Name.Kind == storage.Manifest {
		limit = max(limit, MaxCloudPart) // it grows with the number of parts, as they get smaller
	}
	if body, ok := b.Body.(io.ReadSeeker); ok && b.Size >= 0 {
		if b.Size > limit {
			return nil, 0, fmt.Errorf("%d bytes are more than a part's %d", b.Size, limit)
		}
		return body, b.Size, nil
	}
	data, err := io.ReadAll(io.LimitReader(b.Body, limit+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("read the blob: %w", err)
	case int64(len(data)) > limit:
		return nil, 0, fmt.Errorf("more bytes than a part's %d", limit)
	case b.Size >= 0 && int64(len(data)) != b.Size:
		return nil, 0, fmt.Errorf("read the blob: %w: %d bytes of %d", io.ErrUnexpectedEOF, len(data), b.Size)
	}
	return bytes.NewReader(data), int64(len(data)), nil
}

// Delete removes a part's message. Telegram refuses that 48 hours after it was sent; then
// the document is replaced by a tombstone and the message stays. Forwarded copies, and what
// Telegram itself keeps, are out of reach.
func (d *Driver) Delete(ctx context.Context, ref storage.Ref) (storage.Deletion, error) {
	r, err := d.own(ctx, ref)
	if err != nil {
		return storage.Absent, err
	}
	err = d.client.Delete(ctx, r.chat, r.message)
	switch {
	case r.chat != d.home() && answered(err):
		// A group that became a supergroup takes nothing any more. Its messages stay as they are.
		return storage.Hidden, nil
	case err == nil:
		return storage.Deleted, nil
	case reasonOf(err) == MessageNotFound:
		return storage.Absent, nil
	case reasonOf(err) != DeleteRefused:
		return storage.Absent, explain(fmt.Sprintf("delete message %d", r.message), err)
	}
	_, err = d.client.Edit(ctx, r.chat, r.message, tombstone())
	switch {
	case err == nil || reasonOf(err) == Unchanged:
		return storage.Tombstoned, nil
	case reasonOf(err) == MessageNotFound:
		return storage.Absent, nil
	}
	return storage.Absent, explain(fmt.Sprintf("replace message %d by a tombstone", r.message), err)
}

func tombstone() Upload {
	text := "This file was deleted by pgcourier after Telegram's time for deleting messages.\n"
	return Upload{Name: tombstoneName, Caption: "pgcourier\ndeleted", Body: strings.NewReader(text), Size: int64(len(text))}
}

// own parses a reference into this chat, or into the group that it was.
func (d *Driver) own(ctx context.Context, ref storage.Ref) (reference, error) {
	r, err := parseReference(ref)
	if err == nil && !d.holds(r.chat) {
		err = d.learn(ctx)
	}
	if err == nil && !d.holds(r.chat) {
		err = fmt.Errorf("%w: the document is in chat %d, not in %d", storage.ErrForeign, r.chat, d.chat)
	}
	return r, err
}

// discard deletes a message of this call's own, also when ctx has ended.
func (d *Driver) discard(ctx context.Context, message int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if err := d.client.Delete(ctx, d.home(), message); err != nil && reasonOf(err) != MessageNotFound {
		return fmt.Errorf("remove message %d: %w", message, err)
	}
	return nil
}
