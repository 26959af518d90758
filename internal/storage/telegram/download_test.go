package telegram_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

// stored sends data and returns its file id.
func stored(t *testing.T, b *bench, data []byte) string {
	t.Helper()
	m, err := b.client.Send(t.Context(), channel, upload(data))
	if err != nil {
		t.Fatal(err)
	}
	return m.Document.FileID
}

func TestFetchSurvivesItsConnections(t *testing.T) {
	t.Parallel()
	data := random(1 << 20)
	tests := map[string]telegramtest.Fault{
		"truncated again and again": {Kind: telegramtest.Short, Method: "download", After: 100 << 10, Times: 8},
		"reset":                     {Kind: telegramtest.Reset, Method: "download", After: 5, Times: 5},
		"502":                       {Kind: telegramtest.BadGateway, Method: "download", Times: 3},
		"getFile fails":             {Kind: telegramtest.BadGateway, Method: "getFile", Times: 3},
		"getFile's reply is lost":   {Kind: telegramtest.LoseReply, Method: "getFile", Times: 3},
		"an answer to wait":         {Kind: telegramtest.TooManyRequests, Method: "getFile", RetryAfter: time.Minute, Times: 50},
	}
	for name, fault := range tests {
		for _, offset := range []int64{0, 1, 400_000, int64(len(data)) - 1, int64(len(data)), int64(len(data)) + 5} {
			b := setup(t)
			id := stored(t, b, data)
			b.Inject(fault)
			r, err := b.client.Fetch(t.Context(), id, int64(len(data)), offset)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got, err := io.ReadAll(r)
			if err = errors.Join(err, r.Close()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if want := data[min(offset, int64(len(data))):]; !bytes.Equal(got, want) {
				t.Errorf("%s: from %d: got %d bytes, want %d, or others", name, offset, len(got), len(want))
			}
		}
	}
}

func TestFetchThatNeverAdvancesEnds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	data := random(100 << 10)
	id := stored(t, b, data)
	b.Inject(telegramtest.Fault{Kind: telegramtest.Short, Method: "download", Times: -1})
	r, err := b.client.Fetch(t.Context(), id, int64(len(data)), 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(r)
	if _, ok := errors.AsType[*telegram.TransportError](err); !ok || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want an unexpected end", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// Paths are valid for an hour: a reader that takes longer needs a new one when its connection
// breaks.
func TestFetchOutlastsItsPath(t *testing.T) {
	t.Parallel()
	b := setup(t)
	data := random(2 << 20)
	id := stored(t, b, data)
	b.Inject(telegramtest.Fault{Kind: telegramtest.Short, Method: "download", After: 1 << 20})
	r, err := b.client.Fetch(t.Context(), id, int64(len(data)), 0)
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 1000)
	if _, err := io.ReadFull(r, first); err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(telegramtest.PathLifetime + time.Minute)
	rest, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(slices.Concat(first, rest), data) {
		t.Error("the bytes differ")
	}
	if n := b.Stats().Requests["getFile"]; n != 2 {
		t.Errorf("asked %d times for a path, want 2", n)
	}
}

func TestDownloadsThatFail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := stored(t, b, random(telegramtest.MaxFetch+1))
	_, err := b.client.Fetch(t.Context(), id, telegramtest.MaxFetch+1, 0)
	if api, ok := errors.AsType[*telegram.APIError](err); !ok || api.Reason() != telegram.TooLargeToFetch {
		t.Errorf("above 20 MiB: got %v", err)
	}
	id = stored(t, b, random(telegramtest.MaxFetch))
	r, err := b.client.Fetch(t.Context(), id, telegramtest.MaxFetch, telegramtest.MaxFetch-1)
	if err != nil {
		t.Fatalf("20 MiB exactly: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	other := b.newClient(t, telegram.ClientConfig{Token: exportSecret(b.addBot("other"))})
	_, err = other.Fetch(t.Context(), id, telegramtest.MaxFetch, 0)
	if api, ok := errors.AsType[*telegram.APIError](err); !ok || api.Reason() != telegram.FileUnavailable {
		t.Errorf("another bot's file id: got %v", err)
	}
}

func TestCancelEndsAFetch(t *testing.T) {
	t.Parallel()
	b := setup(t)
	data := random(8 << 20)
	id := stored(t, b, data)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := b.client.Fetch(ctx, id, int64(len(data)), 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(r); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// localServer answers getFile with a path, as a Bot API server in --local mode does.
func localServer(t *testing.T, path string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"ok":true,"result":{"file_id":"x","file_size":5,"file_path":"`+path+`"}}`)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestLocalServersFilesAreOpenedBelowTheirFolderOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	parent := t.TempDir()
	dir := filepath.Join(parent, "telegram")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Join(dir, "inside"), filepath.Join(parent, "outside")} {
		if err := os.WriteFile(name, []byte("hello"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := func(path, localDir string) (string, error) {
		c := b.newClient(t, telegram.ClientConfig{BaseURL: localServer(t, path), LocalDir: localDir})
		r, err := c.Fetch(t.Context(), "x", 5, 1)
		if err != nil {
			return "", err
		}
		got, err := io.ReadAll(r)
		return string(got), errors.Join(err, r.Close())
	}
	if got, err := open(filepath.Join(dir, "inside"), dir); err != nil || got != "ello" {
		t.Errorf("inside: got %q, %v", got, err)
	}
	for _, path := range []string{
		filepath.Join(parent, "outside"), dir + "/../outside", "/etc/hostname", "../../etc/hostname", "a/../../b", "",
	} {
		if got, err := open(path, dir); err == nil {
			t.Errorf("%q: opened, got %q", path, got)
		}
	}
	if _, err := open(filepath.Join(dir, "inside"), ""); err == nil || !strings.Contains(err.Error(), "local_dir") {
		t.Errorf("without a folder: got %v, want an error that names local_dir", err)
	}
}

// A server that ignores ranges sends everything; the reader skips what it has.
func TestFetchFromAServerWithoutRanges(t *testing.T) {
	t.Parallel()
	data := random(200 << 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/getFile") {
			_, _ = io.WriteString(w, `{"ok":true,"result":{"file_path":"documents/file 1"}}`)
			return
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(s.Close)
	b := setup(t)
	c := b.newClient(t, telegram.ClientConfig{BaseURL: s.URL})
	r, err := c.Fetch(t.Context(), "x", int64(len(data)), 70_000)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, data[70_000:]) {
		t.Errorf("got %d bytes, want %d: %v", len(got), len(data)-70_000, err)
	}
}
