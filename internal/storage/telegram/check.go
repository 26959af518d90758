package telegram

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// Check finds out whether exports can be stored, read back, deleted and found again in the
// chat: the token works, the chat is reachable, messages do not delete themselves, content
// is not protected, and the bot has the rights it needs. It changes nothing. The error
// names everything that is wrong at once and wraps storage.ErrRefused where waiting cannot
// help, else storage.ErrUnavailable.
func (d *Driver) Check(ctx context.Context) error {
	me, err := d.client.Me(ctx)
	if err != nil {
		return explain("check the bot", err)
	}
	if me.ID != d.bot {
		return fmt.Errorf("check the bot: %w: the server says it is bot %d, the token says %d", storage.ErrRefused, me.ID, d.bot)
	}
	if err := d.learn(ctx); err != nil {
		return err
	}
	chat, err := d.client.Chat(ctx, d.chat)
	if err != nil {
		return explain("check the chat", err)
	}
	member, err := d.client.Member(ctx, d.chat, me.ID)
	if err != nil {
		return explain("check the bot's rights", err)
	}
	var errs []error
	for _, p := range append(settings(chat), rights(chat, member)...) {
		errs = append(errs, fmt.Errorf("chat %d: %w: %s", d.chat, storage.ErrRefused, p))
	}
	return errors.Join(errs...)
}

// settings lists what is wrong with the chat.
func settings(c Chat) []string {
	var wrong []string
	if c.AutoDelete != 0 {
		wrong = append(wrong, fmt.Sprintf("messages delete themselves after %d seconds; switch auto-delete off", c.AutoDelete))
	}
	if c.Protected {
		wrong = append(wrong, "content is protected, so no other bot could ever read it; allow saving content")
	}
	if p := c.Pinned; p != nil && (p.Document == nil || p.Document.Name != indexName) {
		wrong = append(wrong, fmt.Sprintf("message %d: %v", p.ID, errIndexHidden))
	}
	return wrong
}

// rights lists what the bot may not do. In a private chat it may all it needs. In a channel
// the right to edit includes the right to pin; one's own messages are deleted with the
// right to post there, and with none in groups.
func rights(c Chat, m Member) []string {
	admin := m.Status == "administrator"
	switch {
	case m.Status == "left" || m.Status == "kicked":
		return []string{"the bot is not in the chat; add it"}
	case c.Private() || m.Status == "creator":
		return nil
	case c.Channel():
		var wrong []string
		if !admin || !m.CanPost {
			wrong = append(wrong, "the bot may not post; make it an administrator who posts messages")
		}
		if !admin || !m.CanEdit {
			wrong = append(wrong, "the bot may not pin the index; make it an administrator who edits messages")
		}
		return wrong
	}
	var wrong []string
	if m.Status == "restricted" && !m.CanSendDocuments {
		wrong = append(wrong, "the bot may not send files; lift its restriction")
	}
	if !admin || !m.CanPin {
		wrong = append(wrong, "the bot may not pin the index; make it an administrator who pins messages")
	}
	return wrong
}
