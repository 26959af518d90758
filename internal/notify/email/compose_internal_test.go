package email

import (
	"bytes"
	stdmail "net/mail"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/notify"
)

// For any recipient and any text of a requester or a server, a composed mail has one recipient, a
// fixed set of header fields and nothing else in its header.
func FuzzCompose(f *testing.F) {
	f.Add("ops@example.com", "gateway", "too slow")
	f.Add("a@example.com,b@example.com", "x\r\nBcc: victim@example.net", "<script>alert(1)</script>")
	f.Add("ops@example.com\r\nBcc: x@example.com", "\x1b[31m", "\u202e\u200b")
	f.Add("Ops <ops@example.com>", ".\r\n", "\r\n.\r\nMAIL FROM:<a@b.c>")
	f.Add(`"o p"@example.com`, "=?utf-8?q?x?=", "{{.}}")
	s := &Sender{cfg: Config{From: stdmail.Address{Address: "backups@example.org"}}, now: func() time.Time { return time.Unix(0, 0) }}
	f.Fuzz(func(t *testing.T, recipient, author, text string) {
		m, err := events.Failed{
			RequestID: "r1", ProjectID: "acme", Attempts: 1, Code: codes.DumpTimeout, Message: text, RequestedBy: author,
			FinishedAt: time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC), Metadata: map[string]string{"Bcc": "victim@example.net"},
		}.Encode("fuzz")
		if err != nil {
			return // no event of the contract
		}
		composed, err := s.compose(notify.Notification{Key: "email-abc", Channel: notify.Email, Recipient: recipient, Event: notify.Event{Subject: m.Subject, Header: m.Header, Body: m.Body}})
		if err != nil {
			return
		}
		var raw bytes.Buffer
		if _, err := composed.WriteTo(&raw); err != nil {
			return
		}
		parsed, err := stdmail.ReadMessage(&raw)
		if err != nil {
			t.Fatalf("to %q: %v", recipient, err)
		}
		for name, values := range parsed.Header {
			switch name {
			case "Date", "Message-Id", "Subject", "User-Agent", "X-Mailer", "Auto-Submitted", "Mime-Version", "From", "To", "Content-Type":
			default:
				t.Fatalf("to %q: the header has %s", recipient, name)
			}
			if len(values) != 1 {
				t.Fatalf("to %q: %d times %s", recipient, len(values), name)
			}
		}
		to, err := parsed.Header.AddressList("To")
		if err != nil || len(to) != 1 || to[0].Address != recipient || to[0].Name != "" {
			t.Fatalf("to %q: the mail is for %v, %v", recipient, to, err)
		}
		if parsed.Header.Get("Subject") != "Export of acme failed (dump_timeout)" || !strings.HasPrefix(parsed.Header.Get("Content-Type"), "multipart/alternative") {
			t.Fatalf("header is %v", parsed.Header)
		}
	})
}
