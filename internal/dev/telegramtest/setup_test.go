package telegramtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
)

func TestMain(m *testing.M) {
	// A net/http server lingers for half a second after it refused a request's body.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

const (
	channel = int64(-100200300)
	private = int64(55)
)

type bench struct {
	*telegramtest.Server
	clock *telegramtest.Clock
	token string
	http  *http.Client
}

func setup(t *testing.T, blobs telegramtest.Blobs) *bench {
	t.Helper()
	clock := telegramtest.NewClock(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	s, err := telegramtest.Start(telegramtest.Config{Clock: clock, Blobs: blobs})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{ExpectContinueTimeout: time.Minute}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &bench{Server: s, clock: clock, token: s.AddBot("one"), http: &http.Client{Transport: transport}}
	s.AddChat(telegramtest.Chat{ID: channel, Type: "channel"})
	s.AddChat(telegramtest.Chat{ID: private, Type: "private"})
	b.join(b.token)
	return b
}

func (b *bench) join(token string) {
	b.SetMember(channel, token, telegramtest.Admin())
	b.SetMember(private, token, telegramtest.Member{Status: "member"})
}

type result struct {
	status int
	header http.Header
	body   string
	OK     bool `json:"ok"`
	Result struct {
		ID       int64  `json:"message_id"`
		Name     string `json:"first_name"`
		Path     string `json:"file_path"`
		Document struct {
			FileID string `json:"file_id"`
			Name   string `json:"file_name"`
			Size   int64  `json:"file_size"`
		} `json:"document"`
	} `json:"-"`
	Description string `json:"description"`
	Parameters  struct {
		RetryAfter int `json:"retry_after"`
	} `json:"parameters"`
}

func (b *bench) do(t *testing.T, req *http.Request) result {
	t.Helper()
	resp, err := b.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	r := result{status: resp.StatusCode, header: resp.Header, body: string(raw)}
	if resp.Header.Get("Content-Type") == "application/json" {
		var envelope struct {
			Result json.RawMessage `json:"result"`
		}
		if err := errors.Join(json.Unmarshal(raw, &r), json.Unmarshal(raw, &envelope)); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(envelope.Result), "{") {
			if err := json.Unmarshal(envelope.Result, &r.Result); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r
}

func (b *bench) call(t *testing.T, token, method, params string) result {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.URL()+"/bot"+token+"/"+method, strings.NewReader(params))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return b.do(t, req)
}

func (b *bench) get(t *testing.T, token, path string) result {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.URL()+"/file/bot"+token+"/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b.do(t, req)
}

// form makes an upload.
func (b *bench) form(t *testing.T, chat int64, name string, data []byte) *http.Request {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreateFormFile("document", name)
	if err == nil {
		_, err = part.Write(data)
	}
	if err = errors.Join(err, w.WriteField("chat_id", strconv.FormatInt(chat, 10)), w.Close()); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.URL()+"/bot"+b.token+"/sendDocument", &body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", w.FormDataContentType())
	return req
}

func (b *bench) expect(t *testing.T, r result, status int, description string) {
	t.Helper()
	if r.status != status || !strings.Contains(r.Description, description) {
		t.Errorf("got %d %s, want %d with %q", r.status, r.body, status, description)
	}
}
