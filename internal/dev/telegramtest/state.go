package telegramtest

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Chat is a chat's settings.
type Chat struct {
	ID         int64 // negative for all but private chats
	Type       string
	Title      string
	AutoDelete time.Duration // 0: messages stay
	Protected  bool          // no forwarding
}

// Member is a bot's status in a chat, as in getChatMember.
type Member struct {
	Status           string `json:"status"`
	CanPost          bool   `json:"can_post_messages,omitempty"`
	CanEdit          bool   `json:"can_edit_messages,omitempty"`
	CanDelete        bool   `json:"can_delete_messages,omitempty"`
	CanPin           bool   `json:"can_pin_messages,omitempty"`
	CanSendDocuments bool   `json:"can_send_documents,omitempty"`
}

// Message is a message as people see it in the chat.
type Message struct {
	ID      int64
	Sent    time.Time
	Bot     int64 // its sender; 0: a human
	Text    string
	Caption string
	Name    string // of the document; "" for none
	Size    int64
	SHA256  [32]byte // of the document as it arrived
	Pinned  bool
	Topic   int64 // of a forum; 0: none
}

type bot struct {
	id   int64
	name string
}

type chat struct {
	Chat
	members  map[int64]Member
	messages []*message // oldest first
	next     int64
	accepted []time.Time    // the last messages, for the pace
	until    time.Time      // told to wait until then
	upgraded int64          // the supergroup that it became; 0: none
	topics   map[int64]bool // of a forum, by number: open
}

type message struct {
	Message
	file *file
}

// file is a stored document. Several messages may contain it.
type file struct {
	blob  string
	name  string
	size  int64
	sum   [32]byte
	uses  int
	flips []int64 // offsets of bytes that are given out with a bit flipped
}

// grant is one bot's access to a file.
type grant struct {
	bot     int64
	file    *file
	expires time.Time // of a path
}

func (c *chat) find(id int64) *message {
	i, ok := slices.BinarySearchFunc(c.messages, id, func(m *message, id int64) int { return int(m.ID - id) })
	if !ok {
		return nil
	}
	return c.messages[i]
}

// add appends a message. The caller holds the lock.
func (s *Server) add(c *chat, m Message, f *file) *message {
	m.ID, m.Sent = c.next, s.clock.Now()
	c.next++
	msg := &message{Message: m}
	c.messages = append(c.messages, msg)
	s.show(msg, f)
	return msg
}

// show replaces the message's document by f; nil removes it.
func (s *Server) show(m *message, f *file) {
	if f != nil {
		f.uses++
		s.files[f.blob] = f
		m.Name, m.Size, m.SHA256 = f.name, f.size, f.sum
	}
	old := m.file
	m.file = f
	if old != nil {
		if old.uses--; old.uses == 0 {
			delete(s.files, old.blob)
			_ = s.blobs.Remove(old.blob) // a leftover in a test's folder
		}
	}
}

// remove takes a message out of its chat.
func (s *Server) remove(c *chat, m *message) {
	s.show(m, nil)
	c.messages = slices.DeleteFunc(c.messages, func(o *message) bool { return o == m })
}

// expire lets messages vanish that are older than the chat's auto-delete time.
func (s *Server) expire(c *chat) {
	if c.AutoDelete == 0 {
		return
	}
	for _, m := range slices.Clone(c.messages) {
		if s.clock.Now().Sub(m.Sent) >= c.AutoDelete {
			s.remove(c, m)
		}
	}
}

// fileID gives a bot its own id of a file, the same each time.
func (s *Server) fileID(b int64, f *file) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%s", b, f.blob))
	id := "BQACAgIAAx0" + base64.RawURLEncoding.EncodeToString(sum[:])
	s.ids[id] = grant{bot: b, file: f}
	return id
}

// Messages returns what a human sees in a chat, oldest first.
func (s *Server) Messages(chatID int64) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.chats[chatID]
	s.expire(c)
	out := make([]Message, 0, len(c.messages))
	for _, m := range c.messages {
		out = append(out, m.Message)
	}
	return out
}

// Post sends a text as a human would, and returns the message's id.
func (s *Server) Post(chatID int64, text string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(s.chats[chatID], Message{Text: text}, nil).ID
}

// Pin pins or unpins a message as a human would. It reports whether the message exists.
func (s *Server) Pin(chatID, id int64, pinned bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.chats[chatID].find(id)
	if m != nil {
		m.Pinned = pinned
	}
	return m != nil
}

// Remove deletes a message as a human would. It reports whether the message existed.
func (s *Server) Remove(chatID, id int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.chats[chatID]
	m := c.find(id)
	if m != nil {
		s.remove(c, m)
	}
	return m != nil
}

// FlipBit damages a stored document for good: the lowest bit of the byte at offset. It
// reports whether there is such a byte.
func (s *Server) FlipBit(chatID, id, offset int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.chats[chatID].find(id)
	if m == nil || m.file == nil || offset < 0 || offset >= m.file.size {
		return false
	}
	m.file.flips = append(m.file.flips, offset)
	return true
}

// Alter puts other bytes in the place of a stored document's, as if they had arrived so.
func (s *Server) Alter(chatID, id int64, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.chats[chatID].find(id)
	if m == nil || m.file == nil {
		return fmt.Errorf("no document in message %d", id)
	}
	if err := s.blobs.Remove(m.file.blob); err != nil {
		return err
	}
	w, err := s.blobs.Create(m.file.blob)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	m.file.size, m.file.sum = int64(len(data)), sha256.Sum256(data)
	m.Size, m.SHA256 = m.file.size, m.file.sum
	return errors.Join(err, w.Close())
}

// Document opens a message's document as a human downloads it, without any limit.
func (s *Server) Document(chatID, id int64) (io.ReadSeekCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.chats[chatID].find(id)
	if m == nil || m.file == nil {
		return nil, fmt.Errorf("no document in message %d", id)
	}
	return s.openFile(m.file)
}

func (s *Server) openFile(f *file) (io.ReadSeekCloser, error) {
	r, err := s.blobs.Open(f.blob)
	if err != nil || len(f.flips) == 0 {
		return r, err
	}
	return &flipped{ReadSeekCloser: r, offsets: slices.Clone(f.flips)}, nil
}

// flipped is a reader with a bit flipped at some offsets.
type flipped struct {
	io.ReadSeekCloser
	offsets []int64
	at      int64
}

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.ReadSeekCloser.Read(p)
	for _, o := range f.offsets {
		if o >= f.at && o < f.at+int64(n) {
			p[o-f.at] ^= 1
		}
	}
	f.at += int64(n)
	return n, err
}

func (f *flipped) Seek(offset int64, whence int) (int64, error) {
	at, err := f.ReadSeekCloser.Seek(offset, whence)
	f.at = at
	return at, err
}
