package telegram_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

func TestTransientFaultsAreRepeatedFromTheSameBytes(t *testing.T) {
	t.Parallel()
	data := random(300 << 10)
	tests := map[string]struct {
		fault   telegramtest.Fault
		orphans int
	}{
		"reset before the body":   {telegramtest.Fault{Kind: telegramtest.Reset, Times: 2}, 0},
		"reset in mid-upload":     {telegramtest.Fault{Kind: telegramtest.Reset, After: 150 << 10, Times: 3}, 0},
		"502 in HTML":             {telegramtest.Fault{Kind: telegramtest.BadGateway, Times: 5}, 0},
		"429 in HTML":             {telegramtest.Fault{Kind: telegramtest.HTMLFlood, Times: 9}, 0},
		"a page instead of JSON":  {telegramtest.Fault{Kind: telegramtest.HTMLSuccess}, 0},
		"reply lost, once stored": {telegramtest.Fault{Kind: telegramtest.LoseReply}, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			tt.fault.Method = "sendDocument"
			b.Inject(tt.fault)
			m, err := b.client.Send(t.Context(), channel, upload(data))
			if err != nil {
				t.Fatal(err)
			}
			messages := b.Messages(channel)
			if len(messages) != 1+tt.orphans {
				t.Fatalf("the chat holds %d messages, want %d", len(messages), 1+tt.orphans)
			}
			if last := messages[len(messages)-1]; last.ID != m.ID || last.Size != int64(len(data)) {
				t.Errorf("the answer is about message %d of %d bytes, the chat ends with %+v", m.ID, m.Document.Size, last)
			}
			got := document(t, b, channel, m.ID)
			if !bytes.Equal(got, data) {
				t.Error("the stored bytes differ")
			}
			if s := b.Stats(); s.Chunked != 0 || s.Flooded != 0 {
				t.Errorf("chunked %d, flooded %d; want 0 of both", s.Chunked, s.Flooded)
			}
		})
	}
}

func document(t *testing.T, b *bench, chat, id int64) []byte {
	t.Helper()
	r, err := b.Document(chat, id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAttemptsEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Inject(telegramtest.Fault{Kind: telegramtest.BadGateway, Times: -1})
	_, err := b.client.Send(t.Context(), channel, upload([]byte("x")))
	api, ok := errors.AsType[*telegram.APIError](err)
	if !ok || api.Code != http.StatusBadGateway || !api.Transient() || api.Description != "Bad Gateway" {
		t.Fatalf("got %v, want a transient 502", err)
	}
	if n := b.Stats().Requests["sendDocument"]; n != telegram.DefaultAttempts {
		t.Errorf("%d tries, want %d", n, telegram.DefaultAttempts)
	}
}

func TestRetryAfterCostsNoAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.newClient(t, telegram.ClientConfig{Attempts: 1})
	b.Inject(telegramtest.Fault{Kind: telegramtest.TooManyRequests, Times: 40, RetryAfter: 30 * time.Second})
	if _, err := c.Send(t.Context(), channel, upload([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	if got := b.clock.Now().Sub(epoch); got < 20*time.Minute || got > 21*time.Minute {
		t.Errorf("took %v of virtual time, want 40 waits of 30s", got)
	}
	if _, err := c.Me(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Inject(telegramtest.Fault{Kind: telegramtest.TooManyRequests, Method: "getMe", RetryAfter: 2 * time.Second})
	if _, err := c.Me(t.Context()); err != nil {
		t.Errorf("a call that is not paced does not obey: %v", err)
	}
}

func TestRetryAfterIsBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Inject(telegramtest.Fault{Kind: telegramtest.TooManyRequests, RetryAfter: 48 * time.Hour})
	_, err := b.client.Send(t.Context(), channel, upload([]byte("x")))
	if api, ok := errors.AsType[*telegram.APIError](err); !ok || api.RetryAfter != 48*time.Hour {
		t.Errorf("got %v, want the 429 itself", err)
	}
	b.Inject(telegramtest.Fault{Kind: telegramtest.TooManyRequests, RetryAfter: 30 * time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	actual := b.newClient(t, telegram.ClientConfig{Clock: telegram.SystemClock{}})
	if _, err := actual.Send(ctx, channel, upload([]byte("x"))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want to fail at once: the wait outlasts the deadline", err)
	}
	if ctx.Err() != nil {
		t.Error("it waited for the deadline")
	}
}

func TestPermanentFaultsAreNotRepeated(t *testing.T) {
	t.Parallel()
	large := bytes.NewReader(make([]byte, telegramtest.MaxUpload+1))
	tests := map[string]struct {
		prepare func(*bench)
		upload  telegram.Upload
		want    telegram.Reason
		sent    int
	}{
		"revoked token":  {func(b *bench) { b.Revoke(b.token) }, upload([]byte("x")), telegram.Unauthorized, 1},
		"kicked":         {func(b *bench) { b.SetMember(channel, b.token, telegramtest.Member{Status: "kicked"}) }, upload([]byte("x")), telegram.Forbidden, 1},
		"left":           {func(b *bench) { b.SetMember(channel, b.token, telegramtest.Member{Status: "left"}) }, upload([]byte("x")), telegram.Forbidden, 1},
		"never invited":  {func(b *bench) { b.SetMember(channel, b.token, telegramtest.Member{}) }, upload([]byte("x")), telegram.ChatNotFound, 1},
		"no right":       {func(b *bench) { b.SetMember(channel, b.token, telegramtest.Member{Status: "member"}) }, upload([]byte("x")), telegram.Forbidden, 1},
		"proxy's limit":  {func(*bench) {}, telegram.Upload{Name: "a", Body: large, Size: large.Size()}, telegram.TooLarge, 1},
		"early 413":      {func(b *bench) { b.Inject(telegramtest.Fault{Kind: telegramtest.EarlyTooLarge}) }, upload(random(5 << 20)), telegram.TooLarge, 1},
		"empty file":     {func(*bench) {}, upload(nil), telegram.Unclassified, 0},
		"unsafe name":    {func(*bench) {}, telegram.Upload{Name: "a\"\r\nb", Body: strings.NewReader("x"), Size: 1}, telegram.Unclassified, 0},
		"endless name":   {func(*bench) {}, telegram.Upload{Name: strings.Repeat("a", 61), Body: strings.NewReader("x"), Size: 1}, telegram.Unclassified, 0},
		"endless text":   {func(*bench) {}, telegram.Upload{Name: "a", Caption: strings.Repeat("a", 1025), Body: strings.NewReader("x"), Size: 1}, telegram.Unclassified, 0},
		"body too short": {func(*bench) {}, telegram.Upload{Name: "a", Body: strings.NewReader("xy"), Size: 3}, telegram.Unclassified, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			tt.prepare(b)
			_, err := b.client.Send(t.Context(), channel, tt.upload)
			if err == nil {
				t.Fatal("no error")
			}
			var got telegram.Reason
			if api, ok := errors.AsType[*telegram.APIError](err); ok {
				got = api.Reason()
			}
			if got != tt.want {
				t.Errorf("reason %v of %v, want %v", got, err, tt.want)
			}
			if n := b.Stats().Requests["sendDocument"]; n > tt.sent {
				t.Errorf("%d tries, want %d", n, tt.sent)
			}
			if len(b.Messages(channel)) != 0 {
				t.Error("something is visible")
			}
		})
	}
}

type brokenBody struct{ io.ReadSeeker }

var errBody = errors.New("the disk is on fire")

func (brokenBody) Read([]byte) (int, error) { return 0, errBody }

func TestTheErrorOfTheBodyIsKept(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.client.Send(t.Context(), channel, telegram.Upload{Name: "a", Body: brokenBody{strings.NewReader("")}, Size: 100 << 10})
	if !errors.Is(err, errBody) {
		t.Errorf("got %v, want the body's error", err)
	}
	if n := b.Stats().Requests["sendDocument"]; n > 1 {
		t.Errorf("%d tries of a body that cannot be read", n)
	}
}

// silent accepts requests and never answers.
type silent struct{ tries int }

func (s *silent) RoundTrip(r *http.Request) (*http.Response, error) {
	s.tries++
	<-r.Context().Done()
	return nil, errors.Join(r.Context().Err(), r.Body.Close())
}

func TestStalledCallEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := &silent{}
		c, err := telegram.NewClient(telegram.ClientConfig{
			Token: "123:ABCDEFGHIJKLMNOPQRSTUVWXYZ", Transport: server, Attempts: 2,
		})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = c.Me(t.Context())
		if _, ok := errors.AsType[*telegram.TransportError](err); !ok || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want a lost call and no deadline: none was set", err)
		}
		if server.tries != 2 {
			t.Errorf("%d tries, want 2", server.tries)
		}
		if took := time.Since(start); took < 2*telegram.StallTimeout || took > 2*telegram.StallTimeout+2*time.Second {
			t.Errorf("gave up after %v, want two stalls and a pause", took)
		}
	})
}

func TestCancelEndsACall(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Inject(telegramtest.Fault{Kind: telegramtest.Hang, Times: -1})
	cause := errors.New("told to stop")
	c := b.newClient(t, telegram.ClientConfig{ReplyGrace: time.Millisecond})
	ctx, cancel := context.WithCancelCause(t.Context())
	result := make(chan error)
	go func() {
		_, err := c.Send(ctx, channel, upload(random(100<<10)))
		result <- err
	}()
	waitFor(t, func() bool { return b.Stats().Requests["sendDocument"] == 1 })
	cancel(cause)
	if err := <-result; !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
		t.Errorf("got %v, want the context's error and its cause", err)
	}
}

// waitFor polls for a result of the server's goroutines.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(2 * time.Minute) // of a test that fails
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("timeout")
		}
	}
}
