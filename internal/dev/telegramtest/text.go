package telegramtest

import "unicode/utf8"

// maxText is the longest text of a message, in characters.
const maxText = 4096

func (s *Server) sendMessage(b *bot, c *chat, in input) reply {
	m := c.members[b.id]
	if c.Type == "channel" && (m.Status != "administrator" || !m.CanPost) {
		return badRequest("need administrator rights in the channel chat")
	}
	text := in.fields["text"]
	switch {
	case text == "":
		return badRequest("message text is empty")
	case utf8.RuneCountInString(text) > maxText:
		return badRequest("message is too long")
	}
	if r, ok := s.paced(c); !ok {
		return r
	}
	return success(s.describe(b, c, s.add(c, Message{Bot: b.id, Text: text}, nil)))
}
