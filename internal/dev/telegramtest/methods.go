package telegramtest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// chatMethods are the calls about one chat, of which the bot is known to be a member. They
// run under the lock.
var chatMethods = map[string]func(*Server, *bot, *chat, input) reply{
	"sendChatAction":   (*Server).sendChatAction,
	"getChat":          (*Server).getChat,
	"getChatMember":    (*Server).getChatMember,
	"sendDocument":     (*Server).sendDocument,
	"deleteMessage":    (*Server).deleteMessage,
	"editMessageMedia": (*Server).editMessageMedia,
	"pinChatMessage":   (*Server).pinChatMessage,
	"forwardMessage":   (*Server).forwardMessage,
	"sendMessage":      (*Server).sendMessage,
}

func (s *Server) getChat(b *bot, c *chat, _ input) reply {
	out := map[string]any{"id": c.ID, "type": c.Type, "title": c.Title}
	if c.AutoDelete != 0 {
		out["message_auto_delete_time"] = int(c.AutoDelete.Seconds())
	}
	if c.Protected {
		out["has_protected_content"] = true
	}
	for _, m := range c.messages { // the newest by sending date wins
		if m.Pinned {
			out["pinned_message"] = s.describe(b, c, m)
		}
	}
	return success(out)
}

func (s *Server) getChatMember(_ *bot, c *chat, in input) reply {
	m, ok := c.members[in.number("user_id")]
	if !ok {
		return badRequest("user not found")
	}
	if c.Type == "channel" {
		m.CanPin = false // channels have no such right: the right to edit includes pinning
	}
	return success(m)
}

// mayPost refuses a bot without the right to send documents.
func mayPost(b *bot, c *chat) (reply, bool) {
	m := c.members[b.id]
	switch {
	case c.Type == "channel" && (m.Status != "administrator" || !m.CanPost):
		return badRequest("need administrator rights in the channel chat"), false
	case m.Status == "restricted" && !m.CanSendDocuments:
		return badRequest("not enough rights to send documents to the chat"), false
	}
	return reply{}, true
}

func (s *Server) sendChatAction(*bot, *chat, input) reply { return success(true) }

// inTopic refuses a message to a topic that does not exist or is closed.
func inTopic(c *chat, in input) (reply, bool) {
	topic := in.number("message_thread_id")
	if topic == 0 {
		return reply{}, true
	}
	switch open, there := c.topics[topic]; {
	case !there:
		return badRequest("message thread not found"), false
	case !open:
		return badRequest("TOPIC_CLOSED"), false
	}
	return reply{}, true
}

func (s *Server) sendDocument(b *bot, c *chat, in input) reply {
	if r, ok := mayPost(b, c); !ok {
		return r
	}
	if r, ok := inTopic(c, in); !ok {
		return r
	}
	f := in.file
	if f == nil {
		id := in.fields["document"]
		if id == "" {
			return badRequest("there is no document in the request")
		}
		if f = s.granted(b, id); f == nil {
			return badRequest("wrong file identifier/HTTP URL specified")
		}
	}
	if r, ok := checkDocument(f, in.fields["caption"]); !ok {
		return r
	}
	if r, ok := s.paced(c); !ok {
		return r
	}
	s.stats.Uploaded += f.size
	return success(s.describe(b, c, s.add(c, Message{Bot: b.id, Caption: in.fields["caption"], Topic: in.number("message_thread_id")}, f)))
}

func checkDocument(f *file, caption string) (reply, bool) {
	switch {
	case f.size == 0:
		return badRequest("file must be non-empty"), false
	case utf8.RuneCountInString(caption) > 1024:
		return badRequest("message caption is too long"), false
	}
	return reply{}, true
}

// granted returns the file that a bot may use under an id, or nil.
func (s *Server) granted(b *bot, id string) *file {
	g := s.ids[id]
	if g.file == nil || g.bot != b.id || s.files[g.file.blob] == nil {
		return nil
	}
	return g.file
}

func (s *Server) getFile(b *bot, in input) reply {
	f := s.granted(b, in.fields["file_id"])
	if f == nil {
		return badRequest("wrong file_id or the file is temporarily unavailable")
	}
	if f.size > MaxFetch {
		return badRequest("file is too big")
	}
	now := s.clock.Now()
	for p, g := range s.paths {
		if now.After(g.expires) {
			delete(s.paths, p)
		}
	}
	s.serial++
	path := fmt.Sprintf("documents/file_%d", s.serial)
	s.paths[path] = grant{bot: b.id, file: f, expires: now.Add(PathLifetime)}
	return success(map[string]any{
		"file_id": in.fields["file_id"], "file_unique_id": "AgAD" + f.blob, "file_size": f.size, "file_path": path,
	})
}

func (s *Server) deleteMessage(b *bot, c *chat, in input) reply {
	m := c.find(in.number("message_id"))
	if m == nil {
		return badRequest("message to delete not found")
	}
	rights := c.members[b.id]
	if m.Bot != b.id && (rights.Status != "administrator" || !rights.CanDelete) {
		return badRequest("message can't be deleted")
	}
	if s.clock.Now().Sub(m.Sent) >= DeletionWindow {
		return badRequest("message can't be deleted for everyone")
	}
	s.remove(c, m)
	return success(true)
}

func (s *Server) editMessageMedia(b *bot, c *chat, in input) reply {
	var media struct{ Type, Media, Caption string }
	if err := json.Unmarshal([]byte(in.fields["media"]), &media); err != nil || media.Type != "document" {
		return badRequest("can't parse input media")
	}
	m := c.find(in.number("message_id"))
	switch {
	case m == nil:
		return badRequest("message to edit not found")
	case m.Bot != b.id || m.file == nil:
		return badRequest("message can't be edited")
	}
	f := in.file
	if !strings.HasPrefix(media.Media, "attach://") {
		if f = s.granted(b, media.Media); f == nil {
			return badRequest("wrong file identifier/HTTP URL specified")
		}
	}
	if f == nil {
		return badRequest("there is no document in the request")
	}
	if f == m.file && media.Caption == m.Caption {
		return badRequest("message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message")
	}
	if r, ok := checkDocument(f, media.Caption); !ok {
		return r
	}
	if r, ok := s.paced(c); !ok {
		return r
	}
	m.Caption = media.Caption
	s.show(m, f)
	return success(s.describe(b, c, m))
}

func (s *Server) pinChatMessage(b *bot, c *chat, in input) reply {
	rights := c.members[b.id]
	admin := rights.Status == "administrator"
	switch {
	case c.Type == "channel" && (!admin || !rights.CanEdit), c.Type != "channel" && c.Type != "private" && (!admin || !rights.CanPin):
		return badRequest("not enough rights to manage pinned messages in the chat")
	}
	m := c.find(in.number("message_id"))
	if m == nil {
		return badRequest("message to pin not found")
	}
	if r, ok := s.paced(c); !ok {
		return r
	}
	m.Pinned = true
	return success(true)
}

func (s *Server) forwardMessage(b *bot, c *chat, in input) reply {
	from := s.chats[in.number("from_chat_id")]
	if from == nil || from.members[b.id].Status == "" {
		return badRequest("chat not found")
	}
	m := from.find(in.number("message_id"))
	switch {
	case m == nil:
		return badRequest("message to forward not found")
	case from.Protected:
		return badRequest("message has protected content and can't be forwarded")
	}
	if r, ok := mayPost(b, c); !ok {
		return r
	}
	if r, ok := inTopic(c, in); !ok {
		return r
	}
	if r, ok := s.paced(c); !ok {
		return r
	}
	return success(s.describe(b, c, s.add(c, Message{Bot: b.id, Text: m.Text, Caption: m.Caption, Topic: in.number("message_thread_id")}, m.file)))
}

// The pace: one message a second to a chat, 20 in any minute to groups and channels.
const (
	paceInterval = time.Second
	paceWindow   = time.Minute
	paceLimit    = 20
)

// paced counts a message to a chat, or answers that the caller must wait.
func (s *Server) paced(c *chat) (reply, bool) {
	now := s.clock.Now()
	if now.Before(c.until) {
		s.stats.Impatient++
		s.stats.Flooded++
		return flood(c.until.Sub(now)), false
	}
	free := now
	if n := len(c.accepted); n > 0 {
		free = c.accepted[n-1].Add(paceInterval)
		if c.Type != "private" && n == paceLimit && c.accepted[0].Add(paceWindow).After(free) {
			free = c.accepted[0].Add(paceWindow)
		}
	}
	if now.Before(free) {
		wait := wholeSeconds(free.Sub(now))
		c.until = now.Add(wait)
		s.stats.Flooded++
		return flood(wait), false
	}
	if c.accepted = append(c.accepted, now); len(c.accepted) > paceLimit {
		c.accepted = append(c.accepted[:0], c.accepted[1:]...)
	}
	return reply{}, true
}
