package telegram

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// answerLimit bounds what is read of a JSON answer. Answers of the calls used here are a
// few kilobytes.
const answerLimit = 1 << 20

// content is a request body that can be produced again for each try.
type content struct {
	open        func() io.Reader
	size        int64 // exact: nothing is ever sent in chunks
	contentType string
	large       bool // ask before sending
	settle      bool // makes a message: once it is sent, its answer is waited for
}

// call makes a JSON call. With a chat, it counts as a message to that chat.
func (c *Client) call(ctx context.Context, method string, chat int64, in, out any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode telegram %s: %w", method, err)
	}
	body := jsonContent(raw)
	body.settle = method == methodForward || method == methodMessage
	return c.do(ctx, method, chat, func(ctx context.Context) error { return c.post(ctx, method, body, out) })
}

func jsonContent(raw []byte) content {
	return content{
		open: func() io.Reader { return bytes.NewReader(raw) },
		size: int64(len(raw)), contentType: "application/json",
	}
}

// post makes one try of one call. When ctx ends before the body was handed over, the request
// breaks off and does nothing. When it ends later and the call makes a message, the answer
// is still waited for, for a short while: it may be a success, and an unknown message can
// never be deleted.
func (c *Client) post(ctx context.Context, method string, body content, out any) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	rctx, watch := watchStall(context.WithoutCancel(ctx), StallTimeout)
	defer watch.stop()
	source := &gatedReader{r: body.open(), watch: watch, left: body.size}
	defer source.shut() // net/http may still be reading it when Do has returned
	stop := context.AfterFunc(ctx, func() {
		if whole := source.shut(); whole && body.settle {
			watch.endIn(rctx, c.replyGrace, ended(ctx))
			return
		}
		watch.cancel(ended(ctx))
	})
	defer stop()
	req, err := http.NewRequestWithContext(rctx, http.MethodPost, c.baseURL+"/bot"+c.token.Reveal()+"/"+method, io.NopCloser(source))
	if err != nil {
		return c.transportError(method, err)
	}
	req.ContentLength = body.size
	req.Header.Set("Content-Type", body.contentType)
	if body.large {
		req.Header.Set("Expect", "100-continue")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if own := source.failure(); own != nil {
			return fmt.Errorf("read what is to be sent: %w", own)
		}
		return c.transportError(method, causeOf(rctx, err))
	}
	defer func() { _ = resp.Body.Close() }() // only read from: nothing can be lost by it
	raw, err := io.ReadAll(io.LimitReader(&gatedReader{r: resp.Body, watch: watch}, answerLimit))
	if err != nil {
		return c.transportError(method, causeOf(rctx, err))
	}
	return c.decode(method, resp, raw, out)
}

// answer is the envelope of each answer of the Bot API.
type answer struct {
	OK          bool            `json:"ok"`
	Result      json.RawMessage `json:"result"`
	Code        int             `json:"error_code"`
	Description string          `json:"description"`
	Parameters  struct {
		RetryAfter int64 `json:"retry_after"` // seconds
		MigrateTo  int64 `json:"migrate_to_chat_id"`
	} `json:"parameters"`
}

// maxRetrySeconds keeps an absurd retry_after from overflowing a duration.
const maxRetrySeconds = int64(100 * 365 * 24 * time.Hour / time.Second)

func (c *Client) decode(method string, resp *http.Response, raw []byte, out any) error {
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		if resp.StatusCode/100 == 2 {
			// A success that cannot be read, for instance cut off or a proxy's page: it
			// is not known what happened, as when no answer came.
			return &TransportError{Method: method, text: "the answer is not the Bot API's JSON: " + storage.Words(c.mask(string(raw))), causes: []error{io.ErrUnexpectedEOF}}
		}
		return &APIError{Method: method, Code: resp.StatusCode, Description: statusText(resp.StatusCode)}
	}
	if !a.OK || resp.StatusCode/100 != 2 {
		e := &APIError{Method: method, Code: a.Code, Description: c.mask(a.Description), MigrateTo: a.Parameters.MigrateTo}
		if e.Code == 0 {
			e.Code = resp.StatusCode
		}
		if e.Description == "" {
			e.Description = statusText(e.Code)
		}
		e.RetryAfter = time.Duration(min(max(a.Parameters.RetryAfter, 0), maxRetrySeconds)) * time.Second
		return e
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(a.Result, out); err != nil {
		return fmt.Errorf("decode the answer of telegram %s: %s", method, c.mask(err.Error()))
	}
	return nil
}

func statusText(code int) string {
	if code/100 == 3 {
		return "redirect refused: check the base URL"
	}
	if t := http.StatusText(code); t != "" {
		return t
	}
	return "unknown status"
}

// mediaField is the JSON that makes editMessageMedia take the uploaded document.
func mediaField(u Upload) (string, error) {
	raw, err := json.Marshal(map[string]any{
		"type": "document", "media": "attach://document", "caption": u.Caption,
		"disable_content_type_detection": true,
	})
	if err != nil {
		return "", fmt.Errorf("encode media: %w", err)
	}
	return string(raw), nil
}

// causeOf returns ctx's cause where ctx ended, else err: "context canceled" says less than
// why it was.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
