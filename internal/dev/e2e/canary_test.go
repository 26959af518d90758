package e2e_test

import (
	"encoding/base64"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
)

var everyCanary = flag.Bool("canaries", false, "try every command and every setting in the search for canaries; make canaries does")

// TestNoSecretLeaks runs all steps twice: with secrets as variables, which only the process that
// got them may contain, and with secrets as files.
func TestNoSecretLeaks(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var all []*canaries
	t.Run("runs", func(t *testing.T) {
		for name, strict := range map[string]bool{"variables": false, "files": true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := newScene(t, strict)
				mu.Lock()
				all = append(all, s.c)
				mu.Unlock()
				stop := s.c.watchProcesses(s.binary, strict)
				defer stop()
				s.success()
				if !strict {
					s.failures()
				}
				s.sweep()
			})
		}
	})
	report(t, all...)
}

// success exports, notifies, verifies and restores, and searches while a pg_dump runs.
func (s *scene) success() {
	t := s.t
	t.Helper()
	n := s.serve("notifier", s.channels...)
	v := s.serve("verifier", append(slices.Clone(s.storage3), s.verifier...)...)
	w := s.serve("intake,worker,sweeper", append(slices.Clone(s.storage3), "HTTP_ADDR="+s.http, "PG_BIN_DIR="+s.gate.dir)...)
	s.request(events.Requested{ProjectID: "acme", RequestID: "one", Compression: events.CompressionNone})
	s.held(1, func(pid int) {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil || filepath.Base(exe) != "pg_dump" {
			t.Errorf("the dump is %q, %v", exe, err)
		}
		s.c.processes(s.binary, s.strict)
		for _, p := range []int{pid, w.pid(), n.pid(), v.pid()} {
			if limits := read(t, fmt.Sprintf("/proc/%d/limits", p)); !strings.Contains(limits, "Max core file size        1                    1 ") {
				t.Errorf("process %d may write core dumps:\n%s", p, limits)
			}
		}
		s.sweep()
		s.c.get(sinkMetrics, "http://"+s.http+"/metrics")
	})
	s.completed("acme", "one")
	for _, id := range []string{"elsewhere", "filed"} {
		s.completed(id, s.request(events.Requested{ProjectID: id, RequestID: "one-" + id, Format: events.FormatCustom}))
	}
	if got := s.verification("acme", "one"); got.Verified == nil { // otherwise a notice of damage would follow below
		t.Fatalf("not verified: %+v", got.VerificationFailed)
	}
	eventually(t, "three outcomes told in three ways", func() bool {
		return len(s.smtp.Mails()) == 3 && s.hook.count() == 3 && len(s.chat.Messages(toldChat)) == 3
	})
	if !s.strict && s.authorized.Load() == 0 {
		t.Error("no trace came with the key")
	}
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		s.c.get(sinkMetrics, "http://"+s.http+path)
	}
	reading := append(slices.Clone(s.storage3), s.verifier...)
	target := s.secret("RESTORE_URL", s.login("RESTORE_URL", "SUPERUSER", s.database+"_restored"))
	if err := executeIn(s.ctx, "postgres", "CREATE DATABASE "+s.database+"_restored"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := executeIn(s.ctx, "postgres", "DROP DATABASE "+s.database+"_restored"); err != nil {
			t.Error(err)
		}
	})
	for _, args := range [][]string{
		{"restore", "one"}, {"verify", "one", "--restore"}, {"download", "one", "--plain", "--to", "-"}, {"doctor"},
		{"list"}, {"show", "one"}, {"list", "--output", "json"}, {"notifications", "list"}, {"schedule", "list"}, {"recover"}, {"migrate"},
		{"request", "globex", "--id", "cli", "--wait"}, {"health", "--http-addr", s.http},
	} {
		if r := s.run(append(slices.Clone(reading), target), args...); r.code != 0 {
			t.Errorf("pgcourier %s: exit %d, %s", strings.Join(args, " "), r.code, r.stderr)
		}
	}
	s.outcomes++ // by the command
	s.settled()
	eventually(t, "the verifier has settled", s.verifierSettled)
	v.term()
	v.await()
	n.term()
	n.await()
}

// failures causes every kind of failure whose text could contain a secret.
func (s *scene) failures() {
	t := s.t
	t.Helper()
	s.hook.answer(slices.Repeat([]int{500}, 100)...)
	away := url.URL{Scheme: "http", User: url.UserPassword("u", s.c.password("OTLP endpoint's password")), Host: "127.0.0.1:1", Path: "/" + s.c.word("OTLP endpoint's path")}
	n := s.serve("notifier", append(slices.Clone(s.channels), s.mailer(s.c.password("wrong SMTP password")), "OTEL_EXPORTER_OTLP_ENDPOINT="+away.String())...)
	s.request(events.Requested{ProjectID: "wrong", RequestID: "wrong"})
	s.failed("wrong", "wrong", codes.SourceAuthFailed, 1)
	s.request(events.Requested{ProjectID: "down", RequestID: "down"})
	s.failed("down", "down", codes.SourceUnavailable, 3)
	s.request(events.Requested{ProjectID: "broken", RequestID: "broken"})
	s.failed("broken", "broken", codes.SourceNotFound, 1)

	s.request(events.Requested{ProjectID: "acme", RequestID: "killed"})
	for i := range 3 {
		s.gate.awaitHeld(i + 2)
		for _, pid := range s.dumps() {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.failed("acme", "killed", codes.DumpFailed, 3)
	s.request(events.Requested{ProjectID: "acme", RequestID: "cancelled"})
	s.gate.awaitHeld(5)
	if r := s.run(nil, "cancel", "cancelled", "--project", "acme"); r.code != 0 {
		t.Errorf("cancel: exit %d, %s", r.code, r.stderr)
	}
	s.failed("acme", "cancelled", codes.Cancelled, 1)

	if *everyCanary { // the chat's pace makes it slow
		s.full.Store(true)
		s.request(events.Requested{ProjectID: "globex", RequestID: "full"})
		if out := s.await("globex", "full"); out.Failed == nil || out.Failed.Code != codes.StorageFull {
			t.Errorf("a full bucket: %+v", out)
		}
		s.full.Store(false)
	}
	s.damaged()
	s.chat.Revoke(s.chat.token)
	s.request(events.Requested{ProjectID: "globex", RequestID: "revoked"})
	s.failed("globex", "revoked", codes.StorageRefused, 1)
	for _, word := range []string{"535", "answered 500", "401"} {
		eventually(t, "the notifier meets "+word, func() bool { return strings.Contains(n.logs.String(), word) })
	}
	n.awaitLog("traces cannot be exported and are dropped")
	s.refusedCommands()
	s.invalidSettings()
	s.settled()
	s.run(nil, "notifications", "list", "--output", "json")
}

// damaged lets a verifier find an export that was changed.
func (s *scene) damaged() {
	s.t.Helper()
	s.request(events.Requested{ProjectID: "globex", RequestID: "damaged"})
	c := s.completed("globex", "damaged")
	flip(s.t, filepath.Join(s.storage, keyOf(s.t, c)), -50)
	refused := "OTEL_EXPORTER_OTLP_ENDPOINT=" + s.traces + "/refused/" + s.c.word("refused OTLP endpoint's path")
	v := s.serve("verifier", append(append(slices.Clone(s.storage3), s.verifier...), refused)...)
	if f := s.verification("globex", "damaged").VerificationFailed; f == nil {
		s.t.Error("the damage was not found")
	}
	eventually(s.t, "the verifier has settled", s.verifierSettled)
	v.awaitLog("traces cannot be exported and are dropped")
	v.term()
	v.await()
	reading := append(slices.Clone(s.storage3), s.verifier...)
	if r := s.run(reading, "verify", "globex/damaged"); r.code != 4 {
		s.t.Errorf("verify: exit %d, %s", r.code, r.stderr)
	}
}

// The search finds planted secrets, in every form and in every kind of sink.
func TestAPlantedSecretIsFound(t *testing.T) {
	t.Parallel()
	p := setup(t)
	c := newCanaries(t)
	value := c.password("planted")
	expect := func(sink string, plant func(text string)) {
		t.Helper()
		for _, text := range []string{value, url.QueryEscape(value), "x" + base64.URLEncoding.EncodeToString([]byte("xy"+value)), fmt.Sprintf("%X", value)} {
			before := len(c.result())
			plant(text)
			if len(c.result()) == before {
				t.Errorf("%s: %q was not found", sink, text)
			}
		}
	}
	i := 0
	for kind, text := range forms(value[:pieceLength]) {
		before := len(c.result())
		c.search("forms", kind, []byte("before "+text+" after"))
		if len(c.result()) == before {
			t.Errorf("the form %s is not found: %q", kind, text)
		}
	}
	dir := t.TempDir()
	expect("a folder", func(text string) {
		i++
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c.files(sinkFolders, dir)
	})
	expect("a stream", func(text string) {
		m := &nats.Msg{Subject: "backup.schedule.acme.x" + strconv.Itoa(i), Header: nats.Header{"X": {text}}, Data: []byte("{}")}
		if _, err := p.js.PublishMsg(p.ctx, m); err != nil {
			t.Fatal(err)
		}
		i++
		c.streams(p.ctx, p.js)
	})
	expect("a process", func(text string) {
		for _, plant := range []struct{ args, env []string }{{[]string{"-c", "echo; read x", text}, nil}, {[]string{"-c", "echo; read x"}, []string{"X=" + text}}} {
			before := len(c.result())
			stop := p.idle(plant.args, plant.env)
			c.processes("", false)
			stop()
			if len(c.result()) == before {
				t.Errorf("a process with %q and %q was not found", plant.args, plant.env)
			}
		}
	})
	p.start() // makes the ledger's schema
	expect("the ledger", func(text string) {
		p.exec("COMMENT ON SCHEMA pgcourier IS '" + strings.ReplaceAll(text, "'", "''") + "'")
		c.ledger(p.database)
	})
}
