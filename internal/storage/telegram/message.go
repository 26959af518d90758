package telegram

import "context"

// methodMessage is the call that sends a text.
const methodMessage = "sendMessage"

// SendMessage sends a plain text as a new message, at most 4,096 characters, without a
// preview of links in it. If only the reply was lost, the chat then holds it twice.
func (c *Client) SendMessage(ctx context.Context, chat int64, text string) (Message, error) {
	var m Message
	return m, c.inChat(ctx, chat, func(chat int64) error {
		in := map[string]any{"chat_id": chat, "text": text, "link_preview_options": map[string]any{"is_disabled": true}}
		return c.call(ctx, methodMessage, chat, in, &m)
	})
}
