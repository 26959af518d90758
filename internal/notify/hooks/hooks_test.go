package hooks_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/notify/hooks"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// notification is of a failure with this message, or of a completed export.
func notification(t *testing.T, s *hooks.Sender, message string) notify.Notification {
	t.Helper()
	at := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	encode := events.Failed{
		ProjectID: "acme", RequestID: "r1", Attempts: 3, Code: codes.DumpFailed, Message: message, StartedAt: at, FinishedAt: at,
	}.Encode
	if message == "" {
		encode = events.Completed{
			ProjectID: "acme", RequestID: "r1", Attempt: 1, Format: "sql", Compression: "gzip", Encryption: "none", Schemas: []string{"acme"},
			SHA256: strings.Repeat("a", 64), Storage: []events.Location{{Destination: "file", Status: "stored", URI: "file:acme/r1.1.sql.gz"}},
			ServerVersion: "15.4", PgDumpVersion: "15.4", StartedAt: at, FinishedAt: at,
		}.Encode
	}
	m, err := encode("test")
	if err != nil {
		t.Fatal(err)
	}
	return notify.Notification{Channel: notify.Hook, Recipient: s.Names()[0], Event: notify.Event{Subject: m.Subject, Header: m.Header, Body: m.Body}}
}

// demands are the documented rules of each service.
var demands = map[string]func(r *http.Request, body []byte) error{
	"slack": func(r *http.Request, body []byte) error {
		var m struct{ Text string }
		if err := decode(r, body, &m); err != nil {
			return err
		}
		for _, c := range []string{"<", ">"} {
			if strings.Contains(m.Text, c) {
				return fmt.Errorf("%s is not escaped in %q", c, m.Text)
			}
		}
		return within(m.Text, 4000)
	},
	"discord": func(r *http.Request, body []byte) error {
		var m struct {
			Content  string
			Mentions struct{ Parse []string } `json:"allowed_mentions"`
		}
		if err := decode(r, body, &m); err != nil {
			return err
		}
		if m.Mentions.Parse == nil || len(m.Mentions.Parse) > 0 {
			return errors.New("it may mention all members")
		}
		return within(m.Content, 2000)
	},
	"teams": func(r *http.Request, body []byte) error {
		var m struct {
			Type        string
			Attachments []struct {
				ContentType string
				Content     struct {
					Type, Version string
					Body          []struct {
						Type, Text string
						Wrap       bool
					}
				}
			}
		}
		if err := decode(r, body, &m); err != nil {
			return err
		}
		if len(body) > 28<<10 || m.Type != "message" || len(m.Attachments) != 1 || m.Attachments[0].ContentType != "application/vnd.microsoft.card.adaptive" {
			return fmt.Errorf("%d bytes, %+v", len(body), m)
		}
		card := m.Attachments[0].Content
		if card.Type != "AdaptiveCard" || card.Version == "" || len(card.Body) != 1 || card.Body[0].Type != "TextBlock" {
			return fmt.Errorf("the card is %+v", card)
		}
		return within(card.Body[0].Text, 28<<10)
	},
	"ntfy": func(r *http.Request, body []byte) error {
		if len(body) > 4096 || len(body) == 0 {
			return fmt.Errorf("%d bytes would become a file", len(body))
		}
		want := [2]string{"high", "warning"}
		if title := r.Header.Get("Title"); strings.Contains(title, "completed") || strings.Contains(title, "test") {
			want = [2]string{"default", "white_check_mark"}
		}
		if got := [2]string{r.Header.Get("Priority"), r.Header.Get("Tags")}; got != want || r.Header.Get("Title") == "" {
			return fmt.Errorf("headers are %v", r.Header)
		}
		return nil
	},
	"heartbeat": func(r *http.Request, body []byte) error {
		if r.Method != http.MethodGet || len(body) > 0 {
			return fmt.Errorf("%s with %d bytes", r.Method, len(body))
		}
		return nil
	},
}

func decode(r *http.Request, body []byte, to any) error {
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		return fmt.Errorf("%s of %s", r.Method, r.Header.Get("Content-Type"))
	}
	return json.Unmarshal(body, to)
}

func within(text string, limit int) error {
	if n := len(utf16.Encode([]rune(text))); n == 0 || n > limit {
		return fmt.Errorf("%d characters", n)
	}
	return nil
}

// Each service gets what it documents, also for the longest event, and each answer has its class.
func TestEachServiceGetsWhatItDemands(t *testing.T) {
	t.Parallel()
	for kind, demand := range demands {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var answer atomic.Int64
			var path atomic.Value
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err = errors.Join(err, demand(r, body)); err != nil {
					t.Error(err)
				}
				if r.Header.Get("Authorization") != "Bearer canary" {
					t.Errorf("headers are %v", r.Header)
				}
				path.Store(r.URL.Path)
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(int(answer.Load()))
			}))
			t.Cleanup(server.Close)
			options := url.Values{"header": {"Authorization: Bearer canary"}}
			if kind == "heartbeat" {
				options.Set("fail", server.URL+"/{project}/fail")
			}
			s, err := hooks.New(secret.String(kind + "+" + server.URL + "/canary-{project}#" + options.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			for _, c := range []struct {
				status  int
				message string
				judge   func(error) bool
			}{
				{http.StatusOK, "", func(err error) bool { return err == nil }},
				{http.StatusNoContent, "no", func(err error) bool { return err == nil }},
				{http.StatusAccepted, strings.Repeat("<&>\U0001F4A5", 250), func(err error) bool { return err == nil }},
				{http.StatusTooManyRequests, "no", func(err error) bool {
					delay, ok := errors.AsType[*notify.DelayError](err)
					return ok && delay.After == 7*time.Second
				}},
				{http.StatusBadGateway, "no", func(err error) bool {
					_, permanent := errors.AsType[*notify.PermanentError](err)
					return err != nil && !permanent
				}},
				{http.StatusNotFound, "no", permanent}, {http.StatusGone, "no", permanent}, {http.StatusFound, "no", permanent},
			} {
				answer.Store(int64(c.status))
				err := s.Send(t.Context(), notification(t, s, c.message))
				if !c.judge(err) || err != nil && strings.Contains(err.Error(), "canary") {
					t.Errorf("%d: %v", c.status, err)
				}
				want := "/canary-acme"
				if kind == "heartbeat" && c.message != "" {
					want = "/acme/fail"
				}
				if got := path.Load(); got != want {
					t.Errorf("%d: it went to %s, want %s", c.status, got, want)
				}
			}
			answer.Store(http.StatusOK)
			if kind != "heartbeat" {
				if err := s.SendTest(t.Context(), s.Names()[0]); err != nil {
					t.Errorf("the test: %v", err)
				}
			}
			gone := notification(t, s, "no")
			gone.Recipient = kind + "-other"
			if err := s.Send(t.Context(), gone); !permanent(err) {
				t.Errorf("a hook that is not set up any more: %v", err)
			}
			server.Close()
			if err := s.Send(t.Context(), notification(t, s, "no")); err == nil || permanent(err) || strings.Contains(err.Error(), "canary") {
				t.Errorf("a server that is gone: %v", err)
			}
		})
	}
}

func permanent(err error) bool {
	_, ok := errors.AsType[*notify.PermanentError](err)
	return ok
}

func TestAddressesAreReadOrRefusedWithoutBeingShown(t *testing.T) {
	t.Parallel()
	s, err := hooks.New("slack+https://a.example/canary, heartbeat+https://b.example/1#fail=https%3A%2F%2Fb.example%2F1%2Ffail,heartbeat+https://c.example")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Names()) != 3 || len(s.Chats()) != 1 || len(s.Alive()) != 2 || len(s.Dead()) != 1 {
		t.Errorf("names %v, chats %v, alive %v, dead %v", s.Names(), s.Chats(), s.Alive(), s.Dead())
	}
	for raw, want := range map[string]string{
		"https://h/canary":                            "begins with one of discord, heartbeat, ntfy, slack, teams",
		"slack+ftp://h/canary":                        "http or https",
		"slack+https://h/canary#fail=https://h/":      "options are",
		"heartbeat+https://h/canary#fail=canary":      "options are",
		"ntfy+https://h/canary#header=canary":         "Name: value",
		"ntfy+https://h/canary#header=%zz":            "not a query",
		"ntfy+https://h/a,slack+canary":               "hook 2 of 2",
		"ntfy+https://h/canary#header=A%3A%20b%0D%0A": "Name: value",
	} {
		if _, err := hooks.New(secret.String(raw)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", raw, err)
		}
	}
}
