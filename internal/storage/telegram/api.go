package telegram

import (
	"context"
	"fmt"
	"strconv"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// The calls of the Bot API that are used (https://core.telegram.org/bots/api).
const (
	methodGetMe     = "getMe"
	methodGetChat   = "getChat"
	methodGetMember = "getChatMember"
	methodSend      = "sendDocument"
	methodGetFile   = "getFile"
	methodDelete    = "deleteMessage"
	methodEditMedia = "editMessageMedia"
	methodPin       = "pinChatMessage"
	methodForward   = "forwardMessage"
	methodDownload  = "download" // not a call: the GET of a file path
)

// User is the bot itself.
type User struct {
	ID        int64  `json:"id"`
	IsBot     bool   `json:"is_bot"`
	FirstName string `json:"first_name"`
	Username  string `json:"username"`
}

// Chat is what getChat tells of a chat.
type Chat struct {
	ID    int64  `json:"id"`
	Type  string `json:"type"` // private, group, supergroup or channel
	Title string `json:"title"`
	// AutoDelete is after how many seconds messages vanish; 0: never.
	AutoDelete int64 `json:"message_auto_delete_time"`
	// Protected chats forbid forwarding, without which another bot can never read.
	Protected bool `json:"has_protected_content"`
	// Pinned is the pinned message with the newest sending date.
	Pinned *Message `json:"pinned_message"`
}

// Private reports whether the chat is with one user.
func (c Chat) Private() bool { return c.Type == "private" }

// Channel reports whether the chat is a channel, where rights are named differently.
func (c Chat) Channel() bool { return c.Type == "channel" }

// Member is a bot's standing in a chat.
type Member struct {
	Status    string `json:"status"` // creator, administrator, member, restricted, left, kicked
	CanPost   bool   `json:"can_post_messages"`
	CanEdit   bool   `json:"can_edit_messages"`
	CanDelete bool   `json:"can_delete_messages"`
	CanPin    bool   `json:"can_pin_messages"`
	// CanSendDocuments holds for a restricted member.
	CanSendDocuments bool `json:"can_send_documents"`
}

// Message is a message in a chat.
type Message struct {
	ID       int64     `json:"message_id"`
	Caption  string    `json:"caption"`
	Document *Document `json:"document"`
}

// Document is a file in a message.
type Document struct {
	FileID string `json:"file_id"` // of use to this bot only
	Name   string `json:"file_name"`
	Size   int64  `json:"file_size"`
}

// File is where a document can be fetched, for one hour.
type File struct {
	FileID string `json:"file_id"`
	Size   *int64 `json:"file_size"` // not always told
	Path   string `json:"file_path"`
}

// Me returns the bot itself: the cheapest proof that the token works.
func (c *Client) Me(ctx context.Context) (User, error) {
	var u User
	return u, c.call(ctx, methodGetMe, 0, struct{}{}, &u)
}

// Chat returns what is known of a chat.
func (c *Client) Chat(ctx context.Context, chat int64) (Chat, error) {
	var r Chat
	return r, c.inChat(ctx, chat, func(chat int64) error {
		return c.call(ctx, methodGetChat, 0, map[string]any{"chat_id": chat}, &r)
	})
}

// formerChat returns what is known of a chat, also of a group that became a supergroup.
func (c *Client) formerChat(ctx context.Context, chat int64) (Chat, error) {
	var r Chat
	return r, c.call(ctx, methodGetChat, 0, map[string]any{"chat_id": chat}, &r)
}

// Member returns a user's standing in a chat.
func (c *Client) Member(ctx context.Context, chat, user int64) (Member, error) {
	var m Member
	return m, c.inChat(ctx, chat, func(chat int64) error {
		return c.call(ctx, methodGetMember, 0, map[string]any{"chat_id": chat, "user_id": user}, &m)
	})
}

// Send uploads a document as a new message. The upload is repeated from its own bytes when
// the connection or the server fails; if only the reply was lost, the chat then holds it
// twice.
func (c *Client) Send(ctx context.Context, chat int64, u Upload) (Message, error) {
	var m Message
	err := c.inChat(ctx, chat, func(chat int64) error {
		fields := map[string]string{
			"chat_id": strconv.FormatInt(chat, 10), "caption": u.Caption, "disable_notification": "true",
			// Without it Telegram may convert a file that looks like music or a picture.
			"disable_content_type_detection": "true",
		}
		if u.Topic != 0 {
			fields["message_thread_id"] = strconv.FormatInt(u.Topic, 10)
		}
		return c.upload(ctx, methodSend, chat, fields, u, &m)
	})
	if err != nil {
		return Message{}, err
	}
	return m, c.whole(methodSend, m, u)
}

// Edit replaces the document and the caption of one of the bot's own messages. There is no
// limit of age.
func (c *Client) Edit(ctx context.Context, chat, message int64, u Upload) (Message, error) {
	media, err := mediaField(u)
	if err != nil {
		return Message{}, err
	}
	fields := map[string]string{
		"chat_id": strconv.FormatInt(chat, 10), "message_id": strconv.FormatInt(message, 10), "media": media,
	}
	var m Message
	if err := c.upload(ctx, methodEditMedia, chat, fields, u, &m); err != nil {
		return Message{}, err
	}
	return m, c.whole(methodEditMedia, m, u)
}

// Delete removes a message. See APIError.Reason for MessageNotFound and DeleteRefused.
func (c *Client) Delete(ctx context.Context, chat, message int64) error {
	return c.call(ctx, methodDelete, 0, map[string]any{"chat_id": chat, "message_id": message}, nil)
}

// Pin pins a message without a notification.
func (c *Client) Pin(ctx context.Context, chat, message int64) error {
	in := map[string]any{"chat_id": chat, "message_id": message, "disable_notification": true}
	return c.call(ctx, methodPin, chat, in, nil)
}

// Forward sends a copy of a message of the chat from, which gives this bot a file id of its
// own for a document that another bot sent. topic is that of the copy; 0: none.
func (c *Client) Forward(ctx context.Context, chat, topic, from, message int64) (Message, error) {
	var m Message
	return m, c.inChat(ctx, chat, func(chat int64) error {
		in := map[string]any{
			"chat_id": chat, "from_chat_id": from, "message_id": message, "disable_notification": true,
		}
		if topic != 0 {
			in["message_thread_id"] = topic
		}
		return c.call(ctx, methodForward, chat, in, &m)
	})
}

// whole checks that Telegram holds as many bytes as were sent.
func (c *Client) whole(method string, m Message, u Upload) error {
	switch {
	case m.Document == nil || m.Document.FileID == "" || m.ID == 0:
		return fmt.Errorf("telegram %s: the answer names no document", method)
	case m.Document.Size != u.Size:
		return fmt.Errorf("telegram %s: %w: %d bytes arrived of %d", method, storage.ErrDamaged, m.Document.Size, u.Size)
	}
	return nil
}
