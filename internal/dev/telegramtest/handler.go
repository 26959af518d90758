package telegramtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ServeHTTP serves calls at /bot<token>/<method> and downloads at /file/bot<token>/<path>.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "telegramtest (a test server, not Telegram)")
	rest, isFile := strings.CutPrefix(r.URL.Path, "/file")
	token, what, ok := strings.Cut(strings.TrimPrefix(rest, "/bot"), "/")
	if !ok || !strings.HasPrefix(rest, "/bot") {
		failure(http.StatusNotFound, "Not Found").write(w)
		return
	}
	method := what
	if isFile {
		method = "download"
	}
	f := s.fault(method)
	if f.Kind == Reset && isFile {
		f.Kind = Short // breaks while the body is sent
	} else if s.early(w, r, f) {
		return
	}
	if isFile {
		s.download(w, r, token, what, f)
		return
	}
	if s.tooLarge(r) {
		page(w, http.StatusRequestEntityTooLarge)
		return
	}
	in, err := s.read(w, r)
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		page(w, http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		drop(w) // the client is gone or the request is invalid; nothing was stored
		return
	}
	answer := s.answer(token, method, in)
	if f.Kind == LoseReply {
		drop(w)
		return
	}
	if f.Kind == Late {
		select {
		case <-f.Gate:
		case <-r.Context().Done():
		case <-s.quit:
		}
	}
	answer.write(w)
}

func (s *Server) tooLarge(r *http.Request) bool {
	if r.ContentLength < 0 {
		s.mu.Lock()
		s.stats.Chunked++
		s.mu.Unlock()
	}
	return r.ContentLength > MaxUpload
}

// input holds the parameters and the document of a call.
type input struct {
	fields map[string]string
	file   *file // not shown by any message yet
}

func (in input) number(name string) int64 {
	n, err := strconv.ParseInt(in.fields[name], 10, 64)
	if err != nil {
		return 0 // no message and no chat has that id
	}
	return n
}

// read parses a request: JSON or multipart/form-data.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (input, error) {
	in := input{fields: map[string]string{}}
	r.Body = http.MaxBytesReader(w, r.Body, MaxUpload)
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
		return in, s.readMultipart(r, &in)
	}
	dec := json.NewDecoder(r.Body)
	dec.UseNumber()
	var values map[string]any
	if err := dec.Decode(&values); err != nil && !errors.Is(err, io.EOF) {
		return in, err
	}
	for k, v := range values {
		in.fields[k] = fmt.Sprint(v)
	}
	return in, nil
}

// answer carries out a call.
func (s *Server) answer(token, method string, in input) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.dropUnused(in.file)
	b := s.bots[token]
	if b == nil {
		return failure(http.StatusUnauthorized, "Unauthorized")
	}
	for _, c := range s.chats {
		s.expire(c)
	}
	switch method {
	case "getMe":
		return success(map[string]any{"id": b.id, "is_bot": true, "first_name": "TEST SERVER " + b.name, "username": b.name + "_test_server_bot"})
	case "getFile":
		return s.getFile(b, in)
	}
	call, ok := chatMethods[method]
	if !ok {
		return failure(http.StatusNotFound, "Not Found")
	}
	c := s.chats[in.number("chat_id")]
	if c == nil || c.members[b.id].Status == "" {
		return badRequest("chat not found")
	}
	switch m := c.members[b.id]; {
	case m.Status == "kicked" && c.Type == "private":
		return failure(http.StatusForbidden, "Forbidden: bot was blocked by the user")
	case m.Status == "kicked":
		return failure(http.StatusForbidden, "Forbidden: bot was kicked from the "+c.Type+" chat")
	case m.Status == "left":
		return failure(http.StatusForbidden, "Forbidden: bot is not a member of the "+c.Type+" chat")
	}
	if c.upgraded != 0 && method != "getChat" && method != "getChatMember" { // those only read
		r := badRequest("group chat was upgraded to a supergroup chat")
		r.Parameters = map[string]any{"migrate_to_chat_id": c.upgraded}
		return r
	}
	return call(s, b, c, in)
}

// dropUnused removes an upload that is in no message.
func (s *Server) dropUnused(f *file) {
	if f != nil && f.uses == 0 {
		_ = s.blobs.Remove(f.blob) // a leftover in a test's folder
	}
}

// download serves a file path.
func (s *Server) download(w http.ResponseWriter, r *http.Request, token, path string, f Fault) {
	s.mu.Lock()
	b, g := s.bots[token], s.paths[path]
	if b == nil {
		s.mu.Unlock()
		failure(http.StatusUnauthorized, "Unauthorized").write(w)
		return
	}
	if g.file == nil || g.bot != b.id || s.clock.Now().After(g.expires) || s.files[g.file.blob] == nil {
		s.mu.Unlock()
		failure(http.StatusNotFound, "Not Found").write(w)
		return
	}
	content, err := s.openFile(g.file)
	s.mu.Unlock()
	if err != nil {
		failure(http.StatusNotFound, "Not Found").write(w)
		return
	}
	defer func() { _ = content.Close() }()
	if f.Kind == Flip {
		content = &flipped{ReadSeekCloser: content, offsets: []int64{f.After}}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if f.Kind == Short {
		w = &broken{ResponseWriter: w, left: f.After}
	}
	http.ServeContent(w, r, "", time.Time{}, content)
}

// broken drops its connection after some bytes of the body.
type broken struct {
	http.ResponseWriter
	left int64
}

var _ http.ResponseWriter = (*broken)(nil)

func (b *broken) Write(p []byte) (int, error) {
	if int64(len(p)) <= b.left {
		b.left -= int64(len(p))
		return b.ResponseWriter.Write(p)
	}
	_, _ = b.ResponseWriter.Write(p[:b.left])
	_ = http.NewResponseController(b.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}
