package telegram

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// Fetch opens a document for reading from offset. size is its size where the server does not
// tell. A connection that ends
// early is taken up again where it ended, with a new path, since paths are good for an hour
// only; so the reader returns either all bytes or an error that is not io.EOF. The bytes
// are not checked. ctx bounds the whole reading; the caller closes the reader.
func (c *Client) Fetch(ctx context.Context, fileID string, size, offset int64) (io.ReadCloser, error) {
	f := &fetch{ctx: ctx, client: c, fileID: fileID, size: size, at: max(offset, 0)}
	if err := f.connect(); err != nil {
		return nil, err
	}
	return f, nil
}

// fetch is a download that survives its connections. It keeps its context as net/http's
// own response bodies do: the context bounds the reading, and Read takes none.
type fetch struct {
	ctx    context.Context //nolint:containedctx // see above
	client *Client
	fileID string
	size   int64
	at     int64 // the next byte to return
	known  bool  // size is what the server told

	body  io.ReadCloser // nil: not connected
	stale int           // connections in a row that brought no byte
}

func (f *fetch) connect() error {
	return f.client.do(f.ctx, methodDownload, 0, func(ctx context.Context) error {
		raw, err := json.Marshal(map[string]any{"file_id": f.fileID})
		if err != nil {
			return fmt.Errorf("encode file id: %w", err)
		}
		var file File
		if err := f.client.post(ctx, methodGetFile, jsonContent(raw), &file); err != nil {
			return err
		}
		if err := f.measure(file); err != nil || f.at >= f.size {
			return err
		}
		f.body, err = f.client.get(f.ctx, file.Path, f.at)
		return err
	})
}

// measure takes over the size that the server tells, which must stay what it is.
func (f *fetch) measure(file File) error {
	if file.Size == nil {
		return nil
	}
	if f.known && *file.Size != f.size {
		return fmt.Errorf("telegram %s: %w: it changed from %d to %d bytes", methodGetFile, storage.ErrDamaged, f.size, *file.Size)
	}
	f.size, f.known = *file.Size, true
	return nil
}

// Read returns the next bytes.
func (f *fetch) Read(p []byte) (int, error) {
	for {
		if f.at >= f.size {
			return 0, io.EOF
		}
		if err := f.ctx.Err(); err != nil { // net/http notices it a while later
			return 0, err
		}
		if f.body == nil {
			if err := f.connect(); err != nil {
				return 0, err
			}
		}
		n, err := f.body.Read(p[:min(int64(len(p)), f.size-f.at)])
		f.at += int64(n)
		if n > 0 {
			f.stale = 0
			return n, nil // an error with it comes again with the next Read
		}
		if err == nil {
			continue
		}
		if err := f.disconnect(err); err != nil {
			return 0, err
		}
	}
}

// disconnect drops a connection that failed with err, and returns an error when taking it
// up again is of no use.
func (f *fetch) disconnect(err error) error {
	_ = f.body.Close() // it failed already
	f.body = nil
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // f.at is not at the end
	}
	if f.ctx.Err() != nil {
		return fmt.Errorf("telegram %s: %w", methodDownload, ended(f.ctx))
	}
	if f.stale++; f.stale >= f.client.attempts {
		return f.client.transportError(methodDownload, err)
	}
	return nil
}

// Close ends the download.
func (f *fetch) Close() error {
	if f.body == nil {
		return nil
	}
	err := f.body.Close()
	f.body = nil
	if err != nil {
		return f.client.transportError(methodDownload, err)
	}
	return nil
}

// get opens one connection for a file path, from offset on.
func (c *Client) get(ctx context.Context, filePath string, offset int64) (io.ReadCloser, error) {
	if path.IsAbs(filePath) {
		return c.openLocal(filePath, offset)
	}
	if filePath == "" || !filepath.IsLocal(filePath) {
		return nil, &APIError{Method: methodGetFile, Code: http.StatusBadRequest, Description: "wrong file_id: the file has no usable path"}
	}
	ctx, watch := watchStall(ctx, StallTimeout)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.baseURL+"/file/bot"+c.token.Reveal()+"/"+escapePath(filePath), nil)
	if err != nil {
		watch.stop()
		return nil, c.transportError(methodDownload, err)
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := c.http.Do(req) //nolint:bodyclose // the download closes it
	if err != nil {
		err = causeOf(ctx, err)
		watch.stop()
		return nil, c.transportError(methodDownload, err)
	}
	watch.pause()
	d := &download{ctx: ctx, watch: watch, body: resp.Body}
	if err := c.position(d, resp, offset); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// position brings the download to offset, whether or not the server honours ranges.
func (c *Client) position(d *download, resp *http.Response, offset int64) error {
	switch {
	case resp.StatusCode == http.StatusPartialContent &&
		strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)):
		return nil
	case resp.StatusCode == http.StatusOK:
		if _, err := io.CopyN(io.Discard, d, offset); err != nil {
			return c.transportError(methodDownload, err)
		}
		return nil
	case resp.StatusCode/100 == 2:
		return &TransportError{Method: methodDownload, text: "the server sent another range than asked for", causes: []error{io.ErrUnexpectedEOF}}
	}
	raw, err := io.ReadAll(io.LimitReader(d, answerLimit))
	if err != nil {
		return c.transportError(methodDownload, err)
	}
	return c.decode(methodDownload, resp, raw, nil)
}

// download is one response's body. Its watch runs only while a Read waits: a slow consumer
// is no stalled transfer.
type download struct {
	ctx   context.Context //nolint:containedctx // the request's own, to tell why it ended
	watch *stallWatch
	body  io.ReadCloser
}

func (d *download) Read(p []byte) (int, error) {
	d.watch.touch()
	n, err := d.body.Read(p)
	d.watch.pause()
	if err != nil && !errors.Is(err, io.EOF) {
		err = causeOf(d.ctx, err)
	}
	return n, err
}

func (d *download) Close() error {
	d.watch.stop()
	return d.body.Close()
}

// openLocal opens a file of a Bot API server in --local mode.
func (c *Client) openLocal(name string, offset int64) (io.ReadCloser, error) {
	if c.localDir == "" {
		return nil, &APIError{
			Method: methodGetFile, Code: http.StatusBadRequest,
			Description: "the server runs in --local mode: local_dir must say where its files are",
		}
	}
	rel, err := filepath.Rel(c.localDir, name)
	if err != nil {
		return nil, fmt.Errorf("locate a file of the local server: %w", err)
	}
	root, err := os.OpenRoot(c.localDir)
	if err != nil {
		return nil, fmt.Errorf("open the local server's folder: %w", err)
	}
	defer func() { _ = root.Close() }() // files opened through it stay open
	file, err := root.Open(rel)
	if err != nil {
		return nil, fmt.Errorf("open a file of the local server: %s", c.mask(err.Error())) // its path holds the token
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(fmt.Errorf("position a file of the local server: %w", err), file.Close())
	}
	return file, nil
}

func escapePath(p string) string {
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return strings.Join(segments, "/")
}
