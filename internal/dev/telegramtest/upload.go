package telegramtest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"path"
)

// maxField bounds a parameter that is not a document, in bytes.
const maxField = 64 << 10

// Limits of what is kept of a file's name, in characters.
const (
	maxStem      = 60
	maxExtension = 16
)

// readMultipart reads parameters and at most one document. The file of a request that breaks off is
// removed.
func (s *Server) readMultipart(r *http.Request, in *input) (err error) {
	defer func() {
		if err != nil {
			s.dropUnused(in.file)
		}
	}()
	parts, err := r.MultipartReader()
	if err != nil {
		return fmt.Errorf("read form: %w", err)
	}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read form: %w", err)
		}
		if part.FileName() == "" {
			value, err := io.ReadAll(io.LimitReader(part, maxField))
			if err != nil {
				return fmt.Errorf("read parameter: %w", err)
			}
			in.fields[part.FormName()] = string(value)
			continue
		}
		if in.file != nil {
			return errors.New("read form: more than one document")
		}
		if in.file, err = s.keep(part); err != nil {
			return err
		}
	}
}

// keep stores an uploaded document. Without a message it is not visible.
func (s *Server) keep(part *multipart.Part) (*file, error) {
	s.mu.Lock()
	s.serial++
	f := &file{blob: fmt.Sprintf("file_%d", s.serial), name: shorten(part.FileName())}
	s.mu.Unlock()
	w, err := s.blobs.Create(f.blob)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	f.size, err = io.Copy(io.MultiWriter(w, h), part)
	if err = errors.Join(err, w.Close()); err != nil {
		s.dropUnused(f)
		return nil, fmt.Errorf("read document: %w", err)
	}
	h.Sum(f.sum[:0])
	return f, nil
}

// shorten cuts a name as Telegram does, which keeps neither long names nor long extensions.
func shorten(name string) string {
	name = path.Base(name)
	ext := path.Ext(name)
	stem := name[:len(name)-len(ext)]
	return stem[:min(len(stem), maxStem)] + ext[:min(len(ext), maxExtension)]
}
