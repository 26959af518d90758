package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/smtptest"
	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/notify"
)

// post is a platform with a mail server, and the settings of a notifier that uses it.
type post struct {
	*platform
	smtp     *smtptest.Server
	settings []string
}

const mailPassword = "canary-of-the-mail-server"

func setupPost(t *testing.T) *post {
	t.Helper()
	p := &post{platform: setup(t)}
	var err error
	if p.smtp, err = smtptest.Start(smtptest.Config{User: "courier", Password: mailPassword}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.smtp.Close(); err != nil {
			t.Error(err)
		}
	})
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, p.smtp.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	smtpURL := url.URL{
		Scheme: "smtp", User: url.UserPassword("courier", mailPassword), Host: p.smtp.Addr(),
		RawQuery: url.Values{"from": {"Backups <backups@example.org>"}, "ca": {ca}}.Encode(),
	}
	t.Cleanup(func() { // before the platform's end, while the workers' logs exist
		for i, w := range p.workers {
			if text := w.logs.String(); strings.Contains(text, "canary") || strings.Contains(text, hookSecret) {
				t.Errorf("the log of worker %d holds a secret:\n%s", i+1, text)
			}
		}
	})
	p.settings = []string{
		"ROLES=notifier", "DATABASE_URL=", "SMTP_URL=" + smtpURL.String(), "OPERATOR_EMAIL=operator@example.org",
		"NOTIFY_DOMAINS=example.com", "NOTIFY_BACKOFF=20ms", "NOTIFY_DIGEST=0s",
	}
	return p
}

// notifier runs a notifier, which has no database.
func (p *post) notifier(settings ...string) *worker {
	p.t.Helper()
	return p.start(append(p.settings, settings...)...)
}

// mails waits until the server has accepted so many.
func (p *post) mails(n int) []smtptest.Mail {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%d mails", n), func() bool { return len(p.smtp.Mails()) >= n })
	return p.smtp.Mails()
}

// cli runs a command and returns what it printed and its exit code.
func (p *post) cli(args ...string) (string, int) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), "pgcourier", args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, p.environ("DATABASE_URL=")...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // the exit code shows it
	return out.String() + errs.String(), cmd.ProcessState.ExitCode()
}

// stateOf is everything that the broker stores about notifications.
func (p *post) stateOf() string {
	p.t.Helper()
	out, code := p.cli("notifications", "list", "--output", "json")
	if code != 0 {
		p.t.Fatalf("notifications list: exit %d\n%s", code, out)
	}
	return out
}

// records lists the notifications in a state as the command does.
func (p *post) records(state notify.State) []notify.Record {
	p.t.Helper()
	out, code := p.cli("list", "--notifications", "--state", string(state), "--output", "json")
	var records []notify.Record
	if err := json.Unmarshal([]byte(out), &records); err != nil || code != 0 {
		p.t.Fatalf("list --notifications: exit %d, %v\n%s", code, err, out)
	}
	return records
}

func (p *post) awaitRecords(state notify.State, n int) []notify.Record {
	p.t.Helper()
	var got []notify.Record
	eventually(p.t, fmt.Sprintf("%d notifications are %s", n, state), func() bool {
		got = p.records(state)
		return len(got) == n
	})
	return got
}

// letter is a parsed mail.
type letter struct {
	header     mail.Header
	text, html string
}

func open(t *testing.T, m smtptest.Mail) letter {
	t.Helper()
	msg, err := mail.ReadMessage(bytes.NewReader(m.Data))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	out := letter{header: msg.Header}
	for parts := multipart.NewReader(msg.Body, params["boundary"]); ; {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if part.Header.Get("Content-Transfer-Encoding") != "quoted-printable" {
			t.Errorf("a part is %v", part.Header)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(part))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(part.Header.Get("Content-Type"), "text/html") {
			out.html = string(body)
		} else {
			out.text = strings.ReplaceAll(string(body), "\r\n", "\n")
		}
	}
}

func TestOutcomesAreMailed(t *testing.T) {
	t.Parallel()
	p := setupPost(t)
	p.notifier()
	p.start()
	id := p.request(events.Requested{
		ProjectID: "globex", NotifyEmail: "owner@example.com", RequestedBy: `<b>"eve"</b> & co`,
		Metadata: map[string]string{"Bcc": "victim@example.net"},
	})
	done := p.completed("globex", id)
	failed := p.request(events.Requested{ProjectID: "nobody"})
	p.failed("nobody", failed, codes.ProjectNotFound, 1)
	mails := p.mails(2)
	byRecipient := map[string]letter{}
	for _, m := range mails {
		if len(m.To) != 1 || m.From != "backups@example.org" || !m.TLS {
			t.Errorf("mail from %s to %q, TLS %t", m.From, m.To, m.TLS)
		}
		byRecipient[m.To[0]] = open(t, m)
		p.checkSecrets("mail", string(m.Data))
	}
	owner, operator := byRecipient["owner@example.com"], byRecipient["operator@example.org"]
	if s := owner.header.Get("Subject"); !strings.HasPrefix(s, "Export of globex completed (") {
		t.Errorf("subject is %q", s)
	}
	for _, part := range []string{id, done.SHA256, done.Storage[0].URI, "100 rows", "gunzip | psql", "took"} {
		if !strings.Contains(owner.text, part) {
			t.Errorf("the text lacks %q:\n%s", part, owner.text)
		}
	}
	if !strings.Contains(owner.text, `<b>"eve"</b> & co`) || strings.Contains(owner.html, "<b>") || !strings.Contains(owner.html, "&lt;b&gt;&#34;eve&#34;&lt;/b&gt; &amp; co") {
		t.Errorf("the requester's markup is not escaped:\n%s\n%s", owner.text, owner.html)
	}
	if len(owner.header["Bcc"]) > 0 || owner.header.Get("To") != "<owner@example.com>" || owner.header.Get("Auto-Submitted") != "auto-generated" {
		t.Errorf("header is %v", owner.header)
	}
	if s := operator.header.Get("Subject"); s != "Export of nobody failed (project_not_found)" || !strings.Contains(operator.text, "attempts: 1") || !strings.Contains(operator.text, "pgcourier replay "+failed+" --project nobody") {
		t.Errorf("subject is %q, text\n%s", s, operator.text)
	}
	for _, r := range p.awaitRecords(notify.Sent, 2) {
		if r.Tries != 0 || r.Cause != "" || string(r.Key) == "" {
			t.Errorf("record is %+v", r)
		}
		if out, code := p.cli("notifications", "replay", string(r.Key)); code != 6 || !strings.Contains(out, "was delivered") {
			t.Errorf("replay of a sent notification: exit %d\n%s", code, out)
		}
	}
	if out, code := p.cli("notifications", "replay", "email-none"); code != 3 || out != "pgcourier: no notification \"email-none\" is known\n" {
		t.Errorf("replay of nothing: exit %d\n%s", code, out)
	}
}

// A mail server is down for longer than the backoff, hangs, or refuses temporarily: each mail
// arrives once, and the webhook does not wait.
func TestEachMailArrivesOnceThroughOutages(t *testing.T) {
	t.Parallel()
	p := setupPost(t)
	hook := newHook(t)
	p.settings = append(p.settings, hook.settings()...)
	p.settings = append(p.settings, "NOTIFY_TRIES=1000")
	p.notifier()
	p.notifier() // two processes, one mail each
	p.start("ROLES=intake,worker,sweeper")
	if err := p.smtp.Down(); err != nil {
		t.Fatal(err)
	}
	const n = 5
	for range n {
		id := p.request(events.Requested{ProjectID: "nobody", Metadata: map[string]string{"k": "v"}})
		p.failed("nobody", id, codes.ProjectNotFound, 1)
	}
	eventually(t, "the webhook is told of all while no mail can be sent", func() bool { return hook.count() == n })
	tries := func(least int) func() bool {
		return func() bool {
			all := p.records(notify.Waiting)
			for _, r := range all {
				if r.Tries < least || r.Cause == "" {
					return false
				}
			}
			return len(all) == n
		}
	}
	eventually(t, "each mail was tried thrice while the server was down", tries(3))
	p.smtp.Set(smtptest.Hang)
	if err := p.smtp.Up(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "mails hang", func() bool { return p.smtp.Met(smtptest.Hang) >= n })
	p.smtp.Set(smtptest.Later)
	eventually(t, "mails are refused for now", func() bool { return p.smtp.Met(smtptest.Later) >= 1 })
	p.smtp.Set(smtptest.DropAfterReply)
	p.awaitRecords(notify.Sent, 2*n)
	if mails := p.smtp.Mails(); len(mails) != n {
		t.Errorf("%d mails arrived, want %d", len(mails), n)
	}
	seen := map[string]bool{}
	for _, m := range p.smtp.Mails() {
		id := open(t, m).header.Get("Message-Id")
		if seen[id] || !strings.HasSuffix(id, "@example.org>") {
			t.Errorf("Message-ID %q was repeated, or has another form", id)
		}
		seen[id] = true
	}
	if strings.Contains(p.stateOf(), "canary") {
		t.Errorf("the records hold a secret: %s", p.stateOf())
	}
	if hook.count() != n {
		t.Errorf("the webhook was called %d times, want %d", hook.count(), n)
	}
	eventually(t, "the queue is empty", func() bool { return p.stream(events.StreamNotifications).State.Msgs == 0 })
}

// If a connection is lost between the last byte and the answer, the result is unknown: the mail is
// sent again with the same Message-ID.
func TestAMailWithALostAnswerIsSentAgainUnderItsMessageID(t *testing.T) {
	t.Parallel()
	p := setupPost(t)
	p.smtp.Set(smtptest.DropOneBeforeReply)
	p.notifier()
	p.start()
	id := p.request(events.Requested{ProjectID: "nobody"})
	p.failed("nobody", id, codes.ProjectNotFound, 1)
	p.awaitRecords(notify.Sent, 1)
	mails := p.mails(2)
	first, second := open(t, mails[0]), open(t, mails[1])
	if len(mails) != 2 || first.header.Get("Message-Id") != second.header.Get("Message-Id") || first.text != second.text {
		t.Errorf("%d mails, under %q and %q", len(mails), first.header.Get("Message-Id"), second.header.Get("Message-Id"))
	}
}

// A permanently refused notification is parked, listed, and replayed once it can be delivered.
func TestRefusedMailsAreParkedAndReplayed(t *testing.T) {
	t.Parallel()
	p := setupPost(t)
	p.smtp.Set(smtptest.Refuse)
	n := p.notifier()
	p.start()
	id := p.request(events.Requested{ProjectID: "globex", NotifyEmail: "owner@elsewhere.example.com"})
	p.completed("globex", id)
	failed := p.request(events.Requested{ProjectID: "nobody"})
	p.failed("nobody", failed, codes.ProjectNotFound, 1)
	keys := map[string]string{}
	for _, r := range p.awaitRecords(notify.Parked, 2) {
		keys[r.Recipient] = string(r.Key)
		want := "outside the domains"
		if r.Recipient == "operator@example.org" {
			want = "550"
		}
		if r.Tries != 1 || !strings.Contains(r.Cause, want) {
			t.Errorf("parked is %+v", r)
		}
	}
	if len(p.smtp.Mails()) != 0 || p.smtp.Met(smtptest.Refuse) != 1 {
		t.Errorf("%d mails were taken, %d refused", len(p.smtp.Mails()), p.smtp.Met(smtptest.Refuse))
	}
	p.smtp.Set(smtptest.None)
	// The operator permits the domain, and replays both.
	n.term()
	n.await()
	p.notifier("NOTIFY_DOMAINS=example.com,elsewhere.example.com")
	for recipient, key := range keys {
		if out, code := p.cli("replay", "--notification", key); code != 0 || !strings.Contains(out, recipient) {
			t.Errorf("replay %s: exit %d\n%s", key, code, out)
		}
	}
	p.awaitRecords(notify.Sent, 2)
	for _, m := range p.mails(2) {
		if m.To[0] != "owner@elsewhere.example.com" && m.To[0] != "operator@example.org" {
			t.Errorf("mailed to %q", m.To)
		}
	}
	if text, _ := p.cli("notifications", "list"); strings.Count(text, "sent") != 2 {
		t.Errorf("listed is\n%s", text)
	}
}

func TestTheWebhookGetsEachEvent(t *testing.T) {
	t.Parallel()
	p := setupPost(t)
	hook := newHook(t)
	p.settings = append([]string{"ROLES=notifier", "DATABASE_URL=", "NOTIFY_BACKOFF=20ms"}, hook.settings()...)
	hook.answer(http.StatusInternalServerError, http.StatusTooManyRequests, http.StatusOK)
	p.notifier()
	p.start("ROLES=intake,worker,sweeper")
	id := p.request(events.Requested{ProjectID: "globex"})
	p.completed("globex", id)
	p.awaitRecords(notify.Sent, 1)
	calls := hook.calls()
	if len(calls) != 3 {
		t.Fatalf("%d calls", len(calls))
	}
	verifier, err := standardwebhooks.NewWebhook(hookSecret)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range calls {
		if err := verifier.Verify(c.body, c.header); err != nil {
			t.Errorf("the standard's own verifier: %v", err)
		}
		header := map[string]string{}
		for _, name := range []string{"ce-type", "ce-specversion"} {
			header[name] = c.header.Get(name)
		}
		out, err := events.DecodeOutcome(events.Message{Header: header, Body: c.body})
		if err != nil || out.Completed == nil || out.Completed.RequestID != id || c.header.Get("Webhook-Id") != calls[0].header.Get("Webhook-Id") {
			t.Errorf("posted under %s: %v\n%s", c.header.Get("Webhook-Id"), err, c.body)
		}
	}
	// A notification for a removed webhook is parked at once.
	hook.answer(http.StatusGone)
	failed := p.request(events.Requested{ProjectID: "nobody"})
	p.failed("nobody", failed, codes.ProjectNotFound, 1)
	if r := p.awaitRecords(notify.Parked, 1)[0]; r.Tries != 1 || !strings.Contains(r.Cause, "410") || len(hook.calls()) != 4 {
		t.Errorf("parked is %+v after %d calls", r, len(hook.calls()))
	}
}

func TestTheChatGetsAMessage(t *testing.T) {
	t.Parallel()
	p := setupPost(t)
	chat, err := telegramtest.Start(telegramtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := chat.Close(); err != nil {
			t.Error(err)
		}
	})
	const id = int64(4242)
	chat.AddChat(telegramtest.Chat{ID: id, Type: "private"})
	token := chat.AddBot("courier")
	chat.SetMember(id, token, telegramtest.Admin())
	p.notifier("SMTP_URL=", "OPERATOR_EMAIL=", "TELEGRAM_TOKEN="+token,
		"NOTIFY_TELEGRAM_CHAT=telegram://"+strconv.FormatInt(id, 10)+"?api="+url.QueryEscape(chat.URL()))
	p.start()
	p.completed("globex", p.request(events.Requested{ProjectID: "globex"})) // not sent: NOTIFY_COMPLETED is false
	failed := p.request(events.Requested{ProjectID: "nobody"})
	p.failed("nobody", failed, codes.ProjectNotFound, 1)
	p.awaitRecords(notify.Sent, 1)
	messages := chat.Messages(id)
	if len(messages) != 1 || !strings.HasPrefix(messages[0].Text, "Export of nobody failed (project_not_found)\n") || !strings.Contains(messages[0].Text, failed) {
		t.Errorf("the chat holds %+v", messages)
	}
}

// Damage and a coming deletion are reported like outcomes, and parked notifications are replayed.
func TestDamageAndComingDeletionsAreReported(t *testing.T) {
	t.Parallel()
	p := setupPost(t)
	hook := newHook(t)
	p.settings = append(append(p.settings, hook.settings()...), "NOTIFY_EXPIRING=true")
	p.notifier()
	p.start("ROLES=intake,worker,sweeper")
	at := time.Now().UTC()
	damaged, err := events.VerificationFailed{
		RequestID: "r1", ProjectID: "acme", Attempt: 1, Destination: "file", Code: codes.ExportDamaged, Message: "another hash",
		SHA256: strings.Repeat("a", 64), StartedAt: at, FinishedAt: at,
	}.Encode("test")
	if err != nil {
		t.Fatal(err)
	}
	expiring, err := events.Expiring{
		RequestID: "r2", ProjectID: "acme", Reason: "no rule keeps it", WarnedAt: at, ExpiresAt: at.Add(time.Hour), CompletedAt: at,
		StoredBytes: 2048, Copies: []events.StoredCopy{{Destination: "file", URI: "file:acme/r2.1.sql"}},
	}.Encode("test")
	if err != nil {
		t.Fatal(err)
	}
	hook.answer(http.StatusGone)
	for _, m := range []events.Message{damaged, expiring} {
		header := nats.Header{}
		for name, value := range m.Header {
			header.Set(name, value)
		}
		if _, err := p.js.PublishMsg(t.Context(), &nats.Msg{Subject: m.Subject, Header: header, Data: m.Body}); err != nil {
			t.Fatal(err)
		}
	}
	subjects := map[string]string{}
	for _, m := range p.mails(2) {
		l := open(t, m)
		subjects[l.header.Get("Subject")] = l.text
	}
	if !strings.Contains(subjects["Export of acme is damaged (export_damaged)"], "pgcourier verify acme/r1") ||
		!strings.Contains(subjects["Export of acme will be deleted (2.0 KiB)"], "no rule keeps it") {
		t.Errorf("mailed: %q", subjects)
	}
	p.awaitRecords(notify.Sent, 3)
	parked := p.awaitRecords(notify.Parked, 1)[0]
	if out, code := p.cli("notifications", "replay", string(parked.Key)); code != 0 {
		t.Errorf("replay: exit %d\n%s", code, out)
	}
	p.awaitRecords(notify.Sent, 4)
}

const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjU"

// hook is a receiver of webhooks.
type hook struct {
	server *httptest.Server
	mu     sync.Mutex
	got    []call
	codes  []int // of the next calls; then 200
}

type call struct {
	header http.Header
	body   []byte
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{}
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.got = append(h.got, call{r.Header, body})
		code := http.StatusOK
		if len(h.codes) > 0 {
			code, h.codes = h.codes[0], h.codes[1:]
		}
		w.WriteHeader(code)
	}))
	t.Cleanup(h.server.Close)
	return h
}

func (h *hook) settings() []string {
	return []string{"WEBHOOK_URL=" + h.server.URL + "/hook?token=canary", "WEBHOOK_SECRET=" + hookSecret}
}

func (h *hook) answer(codes ...int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.codes = codes
}

func (h *hook) calls() []call {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]call(nil), h.got...)
}

func (h *hook) count() int { return len(h.calls()) }
