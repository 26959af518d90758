package e2e_test

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

// privateChat is a chat in which a bot may send one message a second.
const privateChat = int64(4242)

// chat is a Telegram test server with one bot in one chat.
type chat struct {
	*telegramtest.Server
	token string
}

func newChat(t *testing.T) chat {
	t.Helper()
	server, err := telegramtest.Start(telegramtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	server.AddChat(telegramtest.Chat{ID: privateChat, Type: "private"})
	c := chat{server, server.AddBot("courier")}
	server.SetMember(privateChat, c.token, telegramtest.Admin())
	return c
}

// storage is the platform's folder and the chat, with additional parameters of the chat.
func (c chat) storage(p *platform, more string) []string {
	return []string{
		fmt.Sprintf("STORAGE=file://%s,telegram://%d?api=%s%s", p.storage, privateChat, url.QueryEscape(c.URL()), more),
		"TELEGRAM_TOKEN=" + c.token, "ALLOW_PLAINTEXT=true",
	}
}

// documents are the names of the files in the chat except the index.
func (c chat) documents() []string {
	var names []string
	for _, m := range c.Messages(privateChat) {
		if m.Name != "" && m.Name != "pgcourier-index.pgc" {
			names = append(names, m.Name)
		}
	}
	return names
}

// Temporary errors of Telegram, and of the proxies before it, cost an export no attempt; lasting
// ones cost one attempt.
func TestFaultsOfARequiredChatHaveTheirCodes(t *testing.T) {
	t.Parallel()
	p, c := setup(t), newChat(t)
	w := p.start(c.storage(p, "&required=true")...)
	passes := map[string]telegramtest.Fault{
		"429-json": {Kind: telegramtest.TooManyRequests, Method: "sendDocument", Times: 2, RetryAfter: time.Second},
		"429-html": {Kind: telegramtest.HTMLFlood, Method: "sendDocument"},
		"502-html": {Kind: telegramtest.BadGateway, Method: "sendDocument"},
		"lost":     {Kind: telegramtest.LoseReply, Method: "sendDocument"},
	}
	for id, fault := range passes {
		c.Inject(fault)
		p.request(events.Requested{ProjectID: "quoted", RequestID: id})
		done := p.completed("quoted", id)
		if done.Attempt != 1 || len(done.Storage) != 2 || done.Storage[1].Status != events.LocationStored ||
			done.Storage[1].Destination != "telegram" || !strings.HasPrefix(done.Storage[1].URI, "telegram://4242/quoted/"+id) {
			t.Errorf("%s: attempt %d, %+v", id, done.Attempt, done.Storage)
		}
	}
	lasts := map[string]func(){
		"413-html": func() {
			c.Inject(telegramtest.Fault{Kind: telegramtest.EarlyTooLarge, Method: "sendDocument", Times: -1})
		},
		"kicked": func() { c.SetMember(privateChat, c.token, telegramtest.Member{Status: "kicked"}) },
		"gone":   func() { c.SetMember(privateChat, c.token, telegramtest.Member{}) },
	}
	for id, strike := range lasts {
		before := len(c.documents())
		strike()
		p.request(events.Requested{ProjectID: "quoted", RequestID: id})
		if f := p.failed("quoted", id, codes.StorageRefused, 1); !f.Permanent || !strings.Contains(f.Message, "Telegram refuses") {
			t.Errorf("%s: %+v", id, f)
		}
		c.Heal()
		c.SetMember(privateChat, c.token, telegramtest.Admin())
		if n := len(c.documents()); n != before {
			t.Errorf("%s: %d documents, before it %d", id, n, before)
		}
	}
	c.Revoke(c.token)
	p.request(events.Requested{ProjectID: "quoted", RequestID: "revoked"})
	p.failed("quoted", "revoked", codes.StorageRefused, 1)
	if strings.Contains(w.logs.String(), c.token) {
		t.Error("the log holds the token")
	}
}

// An optional destination that fails does not fail the export, and is reported everywhere.
func TestAnOptionalDestinationThatFailsIsNamedEverywhere(t *testing.T) {
	t.Parallel()
	p, c := setup(t), newChat(t)
	w := p.start(c.storage(p, "")...)
	p.request(events.Requested{ProjectID: "quoted", RequestID: "well"})
	if s := p.completed("quoted", "well").Storage; len(s) != 2 || s[1].Status != events.LocationStored {
		t.Errorf("stored %+v", s)
	}
	c.Revoke(c.token)
	p.request(events.Requested{ProjectID: "quoted", RequestID: "alone"})
	s := p.completed("quoted", "alone").Storage
	if len(s) != 2 || s[0].Status != events.LocationStored || s[1].Destination != "telegram" ||
		s[1].Status != events.LocationFailed || s[1].Code != codes.StorageRefused || s[1].URI != "" {
		t.Errorf("stored %+v", s)
	}
	w.awaitLog("optional destination failed")
	show := exec.CommandContext(t.Context(), w.cmd.Path, "show", "alone")
	show.Env = p.environ()
	out, err := show.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "NOT stored") || !strings.Contains(string(out), "telegram: storage_refused") {
		t.Errorf("show: %v\n%s", err, out)
	}
}

// The ledger records what a killed worker had sent, so another worker removes it.
func TestAnotherWorkerRemovesWhatAKilledOneSent(t *testing.T) {
	t.Parallel()
	p, c := setup(t), newChat(t)
	settings := append(c.storage(p, "&required=true&part_size=64KiB"), "ACK_WAIT=2s")
	c.Inject(telegramtest.Fault{Kind: telegramtest.Hang, Method: "sendDocument", Skip: 2, Times: -1})
	first := p.start(settings...)
	id := p.request(events.Requested{ProjectID: "acme", Compression: events.CompressionZstd})
	eventually(t, "two parts are in the chat", func() bool { return len(c.documents()) == 2 })
	eventually(t, "both are noted", func() bool { return p.noted() == 2 })
	first.kill()
	c.Heal()
	p.start(settings...)
	done := p.completed("acme", id)
	if done.Attempt < 2 { // an attempt of the second worker may be superseded on a busy machine
		t.Errorf("completed in attempt %d", done.Attempt)
	}
	_, key, _ := strings.Cut(done.Storage[0].URI, ":")
	hash := telegram.KeyHash(key)
	eventually(t, "the first attempt's parts are gone", func() bool {
		for _, name := range c.documents() {
			if !strings.Contains(name, "-"+hash+".") {
				return false
			}
		}
		return true
	})
	eventually(t, "no note is left", func() bool { return p.noted() == 0 })
}

// noted counts the parts in the journal.
func (p *platform) noted() (n int) {
	p.t.Helper()
	if err := p.sql().QueryRow(p.t.Context(), "SELECT count(*) FROM pgcourier.storage_notes").Scan(&n); err != nil {
		p.t.Fatal(err)
	}
	return n
}

// A worker that cannot store reports that before it accepts work, with an exit code that
// distinguishes its configuration from a temporary fault.
func TestServeChecksEachDestination(t *testing.T) {
	t.Parallel()
	p, c := setup(t), newChat(t)
	serve, err := exec.LookPath("pgcourier")
	if err != nil {
		t.Fatal(err)
	}
	revoked := c.AddBot("former")
	c.SetMember(privateChat, revoked, telegramtest.Admin())
	c.Revoke(revoked)
	blocked := t.TempDir() + "/a-file"
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	place := fmt.Sprintf("telegram://%d?api=%s", privateChat, url.QueryEscape(c.URL()))
	gone := "s3://exports?region=us-east-1&path_style=true&endpoint=" + url.QueryEscape("http://"+freeAddress(t))
	for name, tt := range map[string]struct {
		settings []string
		code     int
		say      string
	}{
		"a revoked token":  {[]string{"STORAGE=" + place, "TELEGRAM_TOKEN=" + revoked, "ALLOW_PLAINTEXT=true"}, 2, "was it revoked"},
		"no token":         {[]string{"STORAGE=" + place, "ALLOW_PLAINTEXT=true"}, 2, "PGCOURIER_TELEGRAM_TOKEN"},
		"plaintext":        {[]string{"STORAGE=" + place, "TELEGRAM_TOKEN=" + c.token}, 2, "PGCOURIER_ALLOW_PLAINTEXT"},
		"no such storage":  {[]string{"STORAGE=ftp://host/dir"}, 2, "s3://bucket/prefix"},
		"twice the same":   {[]string{"STORAGE=file://" + p.storage + ",file://" + p.storage}, 2, "twice"},
		"optional primary": {[]string{"STORAGE=" + place + "&required=false"}, 2, "always required"},
		"a file":           {[]string{"STORAGE=file://" + blocked}, 5, "not a directory"},
		"no server":        {[]string{"STORAGE=" + gone}, 5, "get the storage's marker"},
	} {
		cmd := exec.CommandContext(t.Context(), serve, "serve")
		cmd.Env = append(p.environ(tt.settings...), "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=canary-secret")
		out, err := cmd.CombinedOutput()
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.ExitCode() != tt.code || !strings.Contains(string(out), tt.say) {
			t.Errorf("%s: %v, want exit code %d and %q:\n%s", name, err, tt.code, tt.say, out)
		}
		for _, s := range []string{c.token, revoked, "canary-secret"} {
			if strings.Contains(string(out), s) {
				t.Errorf("%s: a secret is shown:\n%s", name, out)
			}
		}
	}
	// A fault of an optional destination does not prevent a worker from working.
	w := p.start("STORAGE=file://"+p.storage+","+place, "TELEGRAM_TOKEN="+revoked, "ALLOW_PLAINTEXT=true")
	if !w.logs.has("optional destination cannot be used now") {
		t.Errorf("the log does not say what is wrong:\n%s", w.logs.String())
	}
	p.request(events.Requested{ProjectID: "quoted", RequestID: "alone"})
	p.completed("quoted", "alone")
}

// The demo completes on each storage; it compares what it restored by itself. The binary with test
// servers is built as `make demo` builds it.
func TestTheDemoRunsOnEachStorage(t *testing.T) {
	t.Parallel()
	shipped, err := exec.LookPath("pgcourier")
	if err != nil {
		t.Fatal(err)
	}
	servers := filepath.Join(t.TempDir(), "pgcourier-demo")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "demoservers", "-o", servers, module+"/cmd/pgcourier").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for kind, command := range map[string][]string{
		"file":     {shipped, "demo"},
		"s3":       {servers, "demo", "--storage", "s3"},
		"telegram": {servers, "demo", "--storage", "telegram"},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), command[0], append(command[1:], "--size", "20000")...)
			cmd.Dir, cmd.Env = t.TempDir(), []string{"PATH=/usr/bin:/bin"}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if strings.Contains(string(out), "THIS IS A TEST SERVER") != (kind != "file") {
				t.Errorf("the story names another storage:\n%s", out)
			}
			for _, want := range []string{"2 requests recovered, 0 were known", "checked, restored, equal", kind + "://"} {
				if !strings.Contains(string(out), want) {
					t.Errorf("the story lacks %q:\n%s", want, out)
				}
			}
		})
	}
}
