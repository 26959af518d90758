package telegram

import (
	"context"
	"fmt"
	"slices"

	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

// Check reports whether the bot may write in a chat. It sends nothing.
func Check(ctx context.Context, client *telegram.Client, chat int64) error {
	me, err := client.Me(ctx)
	if err != nil {
		return fmt.Errorf("look at the bot: %w", err)
	}
	c, err := client.Chat(ctx, chat)
	if err != nil {
		return fmt.Errorf("look at the chat: %w", err)
	}
	if c.Private() {
		return nil
	}
	member, err := client.Member(ctx, chat, me.ID)
	if err != nil {
		return fmt.Errorf("look at the bot's rights: %w", err)
	}
	if slices.Contains([]string{"left", "kicked"}, member.Status) || c.Channel() && member.Status != "creator" && !member.CanPost {
		return fmt.Errorf("the bot may not write in chat %d", chat)
	}
	return nil
}

// SendTest sends a test message.
func (s *Sender) SendTest(ctx context.Context, chat int64) error {
	if _, err := s.client.SendMessage(ctx, chat, "This is a test by pgcourier doctor."); err != nil {
		return classify(fmt.Errorf("send to the chat: %w", err))
	}
	return nil
}
