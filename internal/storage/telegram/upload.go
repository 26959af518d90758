package telegram

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"slices"
)

// Limits of captions and names. Telegram cuts longer ones off, and a name that was cut
// off no longer says which part a file is.
const (
	maxCaption = 1024 // characters
	maxName    = 60   // characters, with the extension
)

// Upload is a document to send.
type Upload struct {
	// Name is the file's name: letters, digits, '.', '_' and '-', at most 60 characters.
	Name string
	// Caption is shown below the file, at most 1,024 characters. May be empty.
	Caption string
	// Body holds the bytes. It is rewound and read again for each try, never after the
	// call returned, and not closed.
	Body io.ReadSeeker
	// Size is their number, at least 1: Telegram takes no empty file.
	Size int64
	// Topic is the forum's topic that it is sent to. 0: none, or the general one.
	Topic int64
}

func (u Upload) validate() error {
	switch {
	case u.Name == "" || len(u.Name) > maxName:
		return fmt.Errorf("the file name %q is empty or longer than %d characters", u.Name, maxName)
	case len([]rune(u.Caption)) > maxCaption:
		return fmt.Errorf("the caption of %q is longer than %d characters", u.Name, maxCaption)
	case u.Size < 1 || u.Body == nil:
		return fmt.Errorf("the file %q is empty", u.Name)
	}
	for _, r := range u.Name {
		if !plainNameRune(r) {
			return fmt.Errorf("the file name %q holds the character %q", u.Name, r)
		}
	}
	return nil
}

func plainNameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
}

// upload makes a call with a document in it, as multipart/form-data of a known length.
func (c *Client) upload(ctx context.Context, method string, chat int64, fields map[string]string, u Upload, out any) error {
	if err := u.validate(); err != nil {
		return fmt.Errorf("telegram %s: %w", method, err)
	}
	body, err := multipartContent(fields, u)
	if err != nil {
		return fmt.Errorf("encode telegram %s: %w", method, err)
	}
	return c.do(ctx, method, chat, func(ctx context.Context) error { return c.post(ctx, method, body, out) })
}

// multipartContent frames the document without copying it, so that its length is known
// before the first byte is sent.
func multipartContent(fields map[string]string, u Upload) (content, error) {
	var frame bytes.Buffer
	w := multipart.NewWriter(&frame)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if err := w.WriteField(name, fields[name]); err != nil {
			return content{}, err
		}
	}
	if _, err := w.CreateFormFile("document", u.Name); err != nil {
		return content{}, err
	}
	head := bytes.Clone(frame.Bytes())
	frame.Reset()
	if err := w.Close(); err != nil {
		return content{}, err
	}
	tail := frame.Bytes()
	return content{
		open: func() io.Reader {
			return io.MultiReader(bytes.NewReader(head), &exactReader{r: u.Body, left: u.Size}, bytes.NewReader(tail))
		},
		size:        int64(len(head)) + u.Size + int64(len(tail)),
		contentType: w.FormDataContentType(),
		settle:      true,
		large:       u.Size > 64<<10, // what costs less than asking first is just sent
	}, nil
}

// exactReader rewinds its source before the first byte and gives exactly the promised
// number of bytes. A source that ends early is an error: the frame's end would else follow
// too soon, and the request would hang or be refused for an unclear reason.
type exactReader struct {
	r       io.ReadSeeker
	left    int64
	rewound bool
}

func (e *exactReader) Read(p []byte) (int, error) {
	if !e.rewound {
		if _, err := e.r.Seek(0, io.SeekStart); err != nil {
			return 0, fmt.Errorf("rewind: %w", err)
		}
		e.rewound = true
	}
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if errors.Is(err, io.EOF) {
		if e.left > 0 {
			return n, io.ErrUnexpectedEOF
		}
		err = nil // said by the next Read
	}
	return n, err
}
