package telegram

import (
	"context"
	"errors"
	"fmt"
)

// methodAction shows for a moment that the bot is busy. It is the cheapest call that only a chat
// that can be written to takes.
const methodAction = "sendChatAction"

// home is the chat that a chat has become: a group that was upgraded to a supergroup has another
// id from then on.
func (c *Client) home(chat int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range len(c.moved) { // no circle
		to, ok := c.moved[chat]
		if !ok {
			break
		}
		chat = to
	}
	return chat
}

// inChat makes a call to a chat, or to the supergroup that it has become. It is not for calls that
// name a message: the supergroup numbers its messages anew.
func (c *Client) inChat(ctx context.Context, chat int64, call func(chat int64) error) error {
	at := c.home(chat)
	err := call(at)
	e, ok := errors.AsType[*APIError](err)
	if !ok || e.MigrateTo == 0 || e.MigrateTo == at {
		return err
	}
	c.mu.Lock()
	c.moved[at] = e.MigrateTo
	c.mu.Unlock()
	c.log.WarnContext(ctx, "the group became a supergroup with another id: change the setting", "old", at, "new", e.MigrateTo)
	return call(e.MigrateTo)
}

// touch finds out whether a group has become a supergroup: reading calls do not tell.
func (c *Client) touch(ctx context.Context, chat int64) error {
	return c.inChat(ctx, chat, func(chat int64) error {
		return c.call(ctx, methodAction, 0, map[string]any{"chat_id": chat, "action": "upload_document"}, nil)
	})
}

// firstSupergroup bounds the ids of supergroups and channels: -100 and ten digits or more. Those of
// groups are nearer to zero.
const firstSupergroup = -1_000_000_000_000

// home is the chat to store in.
func (d *Driver) home() int64 { return d.client.home(d.chat) }

// learn finds out whether the chat has become another one.
func (d *Driver) learn(ctx context.Context) error {
	if at := d.home(); at > 0 || at < firstSupergroup {
		return nil
	}
	err := d.client.touch(ctx, d.chat)
	if reasonOf(err) == ChatMigrated {
		return explain("look for the chat", err)
	}
	return nil // whatever else is wrong, the call that needs the chat says so
}

// former is the chat that the present one was; 0: none that is known.
func (d *Driver) former() int64 {
	if d.was != 0 {
		return d.was
	}
	if d.home() != d.chat {
		return d.chat
	}
	return 0
}

// holds reports whether references to a chat are this driver's.
func (d *Driver) holds(chat int64) bool {
	return chat == d.chat || chat == d.home() || chat == d.was && d.was != 0
}

// Notice says that the chat has another id than the setting. Empty: it has not.
func (d *Driver) Notice() string {
	if at := d.home(); at != d.chat {
		return fmt.Sprintf("the group became a supergroup: set the storage to telegram://%d?was=%d", at, d.chat)
	}
	return ""
}
