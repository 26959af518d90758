package e2e_test

import (
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/notify"
)

// hostile is text that the contract accepts: a window's title, a cleared screen, the same in one
// character, markup, direction marks and an invisible character.
const hostile = "\x1b]0;owned\x07\x1b[2J\u009b31m\u0085<script>alert(1)</script>\u202egpj.exe\u2066\u200b\u2028{{.}}\r\nlevel=error"

// ownSequences are the colours and the moves of the cursor that commands write themselves.
var ownSequences = regexp.MustCompile(`\x1b\[(0|1|31|32|33)m|\x1b\[[0-9]+A|\x1b\[J|\r`)

// A requester's text is escaped in every output.
func TestHostileTextIsEscapedWhereverItIsShown(t *testing.T) {
	t.Parallel()
	p := setupPost(t)
	hook := newHook(t)
	p.settings = append(p.settings, hook.settings()...)
	p.notifier()
	w := p.start("LOG_LEVEL=debug")
	// A requester's name is one line without control characters; everything else is permitted.
	author := "<b>eve</b>\u202egpj\u200b\u2066"
	id := p.request(events.Requested{
		ProjectID: "globex", NotifyEmail: "owner@example.com", RequestedBy: author,
		Metadata: map[string]string{"note": hostile},
	})
	out := p.completed("globex", id)
	if out.Metadata["note"] != hostile || out.RequestedBy != author {
		t.Errorf("handed through as %q, %q", out.Metadata, out.RequestedBy)
	}
	unseen := func(where, text string) {
		t.Helper()
		text = ownSequences.ReplaceAllString(text, "")
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%s shows %q", where, text[max(i-20, 0):min(i+20, len(text))])
		}
	}
	for _, args := range [][]string{{"list"}, {"show", id}, {"watch", id, "--project", "globex"}} {
		unseen(args[0]+" on a terminal", p.onTerminal(100, nil, args...))
		text := p.onTerminal(100, nil, append(args, "--output", "json")...)
		unseen(args[0]+" as JSON", text)
		for dec := json.NewDecoder(strings.NewReader(text)); ; {
			var v any
			err := dec.Decode(&v)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s does not print JSON: %v\n%s", args[0], err, text)
			}
		}
	}
	if text := p.onTerminal(100, nil, "show", id); !strings.Contains(text, "eve") {
		t.Errorf("show does not show the requester: %s", text)
	}
	for line := range strings.Lines(w.logs.String()) {
		if !strings.HasSuffix(line, "\n") {
			break // wait for the rest of it
		}
		unseen("the log", line)
		if !json.Valid([]byte(line)) {
			t.Errorf("a line of the log is forged: %s", line)
		}
	}
	letter := open(t, p.mails(1)[0])
	unseen("the mail's text", letter.text)
	unseen("the mail's HTML", strings.ReplaceAll(letter.html, "\r\n", "\n"))
	if strings.Contains(letter.html, "<b>eve") || strings.Contains(letter.html, "<script>") || !strings.Contains(letter.html, "&lt;b&gt;eve") {
		t.Errorf("the mail's HTML holds markup:\n%s", letter.html)
	}
	for name, values := range letter.header {
		unseen("the mail's header "+name, strings.Join(values, "\n"))
	}
	p.awaitRecords(notify.Sent, 2)
	for _, call := range hook.calls() {
		// The body is the event as it was published: JSON, in which controls are escapes.
		if i := strings.IndexFunc(string(call.body), func(r rune) bool { return r < ' ' }); i >= 0 || !json.Valid(call.body) {
			t.Errorf("the webhook's body has a raw control character at %d: %s", i, call.body)
		}
		for name, values := range call.header {
			unseen("the webhook's header "+name, strings.Join(values, "\n"))
		}
	}
}
