package telegramtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"
)

// The limits that are enforced, in bytes.
const (
	MaxUpload = 50 << 20 // of a whole request
	MaxFetch  = 20 << 20 // of a file, by getFile
)

// PathLifetime is how long a file path is valid.
const PathLifetime = time.Hour

// DeletionWindow is how long a message can be deleted.
const DeletionWindow = 48 * time.Hour

// Config describes a server.
type Config struct {
	// Clock is the server's time. Default: real time.
	Clock interface{ Now() time.Time }
	// Blobs stores the documents. Default: a Memory.
	Blobs Blobs
	// Addr is where to listen. Default: a free port of the loopback interface.
	Addr string
}

type realTime struct{}

func (realTime) Now() time.Time { return time.Now() }

// Server is a running test server. It is safe for concurrent use.
type Server struct {
	clock interface{ Now() time.Time }
	blobs Blobs
	http  *http.Server
	url   string
	done  chan error
	quit  chan struct{} // closed by Close: ends hanging requests

	mu     sync.Mutex
	bots   map[string]*bot // by token
	chats  map[int64]*chat
	files  map[string]*file // by blob id
	ids    map[string]grant // by file id
	paths  map[string]grant // by file path
	faults []*Fault
	stats  Stats
	serial int64 // of bots, files and paths
}

// Start listens and serves. The caller calls Close.
func Start(cfg Config) (*Server, error) {
	if cfg.Clock == nil {
		cfg.Clock = realTime{}
	}
	if cfg.Blobs == nil {
		cfg.Blobs = &Memory{}
	}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("start telegram test server: %w", err)
	}
	s := &Server{
		clock: cfg.Clock, blobs: cfg.Blobs, url: "http://" + listener.Addr().String(),
		done: make(chan error, 1), quit: make(chan struct{}),
		bots: map[string]*bot{}, chats: map[int64]*chat{}, files: map[string]*file{},
		ids: map[string]grant{}, paths: map[string]grant{}, stats: Stats{Requests: map[string]int{}},
	}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { s.done <- s.http.Serve(listener) }()
	return s, nil
}

// URL is the base URL for clients, without a slash at its end.
func (s *Server) URL() string { return s.url }

// Close stops the server and drops its connections.
func (s *Server) Close() error {
	close(s.quit)
	err := s.http.Close()
	if serr := <-s.done; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return err
}

// AddBot makes a bot and returns its token.
func (s *Server) AddBot(name string) (token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	b := &bot{id: 7_000_000_000 + s.serial, name: name}
	token = fmt.Sprintf("%d:TEST_%s", b.id, rand.Text())
	s.bots[token] = b
	return token
}

// Revoke invalidates a bot's token.
func (s *Server) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.bots, token)
}

// AddChat makes a chat, or changes the settings of one. Bots are not in it until SetMember.
func (s *Server) AddChat(c Chat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.chats[c.ID]; old != nil {
		old.Chat = c
		return
	}
	s.chats[c.ID] = &chat{Chat: c, members: map[int64]Member{}, next: 1}
}

// Upgrade turns a group into a supergroup, as Telegram does when the group exceeds a group's
// limits. The supergroup has another id and no messages, and the group accepts no more messages.
// Both keep their members.
func (s *Server) Upgrade(group, supergroup int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.chats[group]
	settings := old.Chat
	settings.ID, settings.Type = supergroup, "supergroup"
	s.chats[supergroup] = &chat{Chat: settings, members: maps.Clone(old.members), next: 1}
	old.upgraded = supergroup
}

// SetTopic makes a topic of a forum, or opens or closes it.
func (s *Server) SetTopic(chatID, topic int64, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.chats[chatID]
	if c.topics == nil {
		c.topics = map[int64]bool{}
	}
	c.topics[topic] = open
}

// SetMember sets a bot's standing in a chat. Both must exist.
func (s *Server) SetMember(chatID int64, token string, m Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chats[chatID].members[s.bots[token].id] = m
}

// Admin is an administrator with all rights.
func Admin() Member {
	return Member{Status: "administrator", CanPost: true, CanEdit: true, CanDelete: true, CanPin: true, CanSendDocuments: true}
}

// Stats counts the requests of clients.
type Stats struct {
	Requests  map[string]int // by method; downloads are "download"
	Flooded   int            // answers 429 that the pace caused
	Impatient int            // requests that came before the time a 429 had named
	Chunked   int            // uploads without a Content-Length
	Uploaded  int64          // bytes of accepted documents
}

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Requests = map[string]int{}
	for k, v := range s.stats.Requests {
		stats.Requests[k] = v
	}
	return stats
}
