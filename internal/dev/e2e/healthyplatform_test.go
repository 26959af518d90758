package e2e_test

import (
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"filippo.io/age"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/dev/faketool"
	"github.com/pgcourier/pgcourier/internal/dev/smtptest"
	"github.com/pgcourier/pgcourier/internal/handover/receipt"
)

// healthyPlatform is a platform with every feature configured, and without a fault.
type healthyPlatform struct {
	*platform
	login    string // of the database, with the rights that a worker needs
	smtp     *smtptest.Server
	chat     chat
	s3       string       // URL of a server that takes the key "key" only
	keeping  atomic.Value // string: how its buckets say that they keep what is deleted
	settings []string     // of doctor
}

func setupHealthyPlatform(t *testing.T) *healthyPlatform {
	t.Helper()
	h := &healthyPlatform{platform: setup(t), chat: newChat(t)}
	h.start() // it makes the ledger, and an export that doctor finds
	h.completed("acme", h.request(events.Requested{ProjectID: "acme"}))
	h.login = "doctors_" + h.database
	h.exec(fmt.Sprintf(`CREATE ROLE %[1]s LOGIN PASSWORD 'canary-db';
		GRANT USAGE ON SCHEMA pgcourier, control_plane, tenant_acme TO %[1]s;
		GRANT SELECT ON control_plane.projects, pgcourier.schema_version TO %[1]s; GRANT SELECT ON ALL TABLES IN SCHEMA tenant_acme TO %[1]s;
		GRANT SELECT ON ALL SEQUENCES IN SCHEMA tenant_acme TO %[1]s;
		GRANT SELECT, INSERT, UPDATE ON pgcourier.requests, pgcourier.attempts TO %[1]s; GRANT DELETE ON pgcourier.requests TO %[1]s;
		GRANT SELECT ON pgcourier.expiries, pgcourier.pruning TO %[1]s;
		GRANT SELECT, INSERT, DELETE ON pgcourier.storage_notes TO %[1]s;
		GRANT SELECT, INSERT ON pgcourier.storages TO %[1]s; GRANT SELECT, UPDATE ON pgcourier.removal_orders TO %[1]s`, h.login))
	t.Cleanup(func() { h.exec("DROP OWNED BY " + h.login + "; DROP ROLE " + h.login) })
	var err error
	if h.smtp, err = smtptest.Start(smtptest.Config{User: "courier", Password: marked + "-mail"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.smtp.Close(); err != nil {
			t.Error(err)
		}
	})
	hook := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(hook.Close)
	h.keeping.Store(keepNothing)
	h.s3 = guardedBucket(t, &h.keeping)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	receiptKey, err := receipt.Generate()
	if err != nil {
		t.Fatal(err)
	}
	h.settings = []string{
		"DATABASE_URL=" + h.dsn(h.login, marked+"-db", h.database),
		"STORAGE=file://" + h.storage + "," + h.bucket("exports"),
		"TELEGRAM_TOKEN=" + h.chat.token, "PG_BIN_DIR=" + tools(t, "18.90"), "SMTP_URL=" + h.mail(marked+"-mail"), "OPERATOR_EMAIL=operator@example.org",
		"WEBHOOK_URL=" + hook.URL + "/" + marked, "WEBHOOK_SECRET=" + hookSecret,
		fmt.Sprintf("NOTIFY_TELEGRAM_CHAT=telegram://%d?api=%s", privateChat, url.QueryEscape(h.chat.URL())),
		"AGE_RECIPIENTS=" + identity.Recipient().String(), "AGE_IDENTITY_FILE=" + h.file("identity", identity.String()), "SANDBOX=off",
		"PUBLIC_URL=https://backups.example.org", "LINK_KEY=" + strings.Repeat(marked, 6), "RECEIPT_KEY=" + string(receiptKey),
	}
	h.provision(h.settings...)
	return h
}

// file writes a private file.
func (h *healthyPlatform) file(name, text string) string {
	h.t.Helper()
	file := filepath.Join(h.t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return file
}

// bucket is the location of a bucket on the S3 server.
func (h *healthyPlatform) bucket(name string) string {
	return "s3://" + name + "?region=us-east-1&path_style=true&endpoint=" + url.QueryEscape(h.s3)
}

// telegram adds a chat to STORAGE. Telegram accepts one message a second, so most runs do without.
func (h *healthyPlatform) telegram(chat int64) string {
	h.t.Helper()
	return fmt.Sprintf("%s,telegram://%d?api=%s", h.setting("STORAGE"), chat, url.QueryEscape(h.chat.URL()))
}

// mail returns the mail server's URL.
func (h *healthyPlatform) mail(password string) string {
	u := url.URL{
		Scheme: "smtp", User: url.UserPassword("courier", password), Host: h.smtp.Addr(),
		RawQuery: url.Values{"from": {"backups@example.org"}, "ca": {h.file("ca.pem", string(h.smtp.CA()))}}.Encode(),
	}
	return u.String()
}

// What buckets can keep of a deleted object.
const (
	keepNothing  = ""
	keepVersions = "versions"
	keepLocked   = "locked" // versions, each with a lock of ten years
)

// guardedBucket is an S3 server that accepts one key only, as gofakes3 does not. Its buckets say that
// they keep what keeping holds.
func guardedBucket(t *testing.T, keeping *atomic.Value) string {
	t.Helper()
	behind, err := url.Parse(newBucket(t).url)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(behind); r.Out.Host = r.In.Host }}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Authorization"), "Credential=key/") {
			switch query, keep := r.URL.Query(), keeping.Load(); {
			case keep != keepNothing && query.Has("versioning"):
				fmt.Fprint(w, `<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`)
				return
			case keep == keepLocked && query.Has("object-lock"):
				fmt.Fprint(w, `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>
					<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Years>10</Years></DefaultRetention></Rule></ObjectLockConfiguration>`)
				return
			}
			forward.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<Error><Code>InvalidAccessKeyId</Code><Message>no such key</Message></Error>`)
	}))
	t.Cleanup(front.Close)
	return front.URL
}

// tools is a folder with client tools that report a version and do nothing.
func tools(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"pg_dump", "psql", "pg_restore"} {
		faketool.Install(t, filepath.Join(dir, name), fmt.Sprintf("#!/bin/sh\necho '%s (PostgreSQL) %s'\n", name, version))
	}
	return dir
}

// swap exchanges two folders, unless err says that one could not be made.
func (h *healthyPlatform) swap(a, b string, err error) {
	h.must(err)
	h.must(unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE))
}

func (h *healthyPlatform) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// setting returns one of the platform's settings.
func (h *healthyPlatform) setting(name string) string {
	for _, s := range h.settings {
		if strings.HasPrefix(s, name+"=") {
			return s
		}
	}
	h.t.Fatalf("no setting %s", name)
	return ""
}

// change alters the stream of requests as an administrator could.
func (h *healthyPlatform) change(do func(*jetstream.StreamConfig)) {
	h.t.Helper()
	config := h.stream(events.StreamRequests).Config
	do(&config)
	if _, err := h.js.UpdateStream(h.ctx, config); err != nil {
		h.t.Fatal(err)
	}
}

// untrustedServer is a web server with a certificate of an unknown authority.
func (h *healthyPlatform) untrustedServer() string {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	h.t.Cleanup(srv.Close)
	return srv.URL
}

// otherIdentity is an identity that decrypts nothing here.
func (h *healthyPlatform) otherIdentity() string {
	h.t.Helper()
	other, err := age.GenerateX25519Identity()
	if err != nil {
		h.t.Fatal(err)
	}
	return h.file("other-identity", other.String())
}

// silentAddress is an address that accepts connections and never answers.
func (h *healthyPlatform) silentAddress() string {
	h.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(h.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String() // the kernel completes the handshakes; no program accepts
}

// otherKeys are keys of broker users that no broker has.
func (h *healthyPlatform) otherKeys() string {
	h.t.Helper()
	dir := filepath.Join(h.t.TempDir(), "keys")
	if _, err := server.EnsureKeys(dir, server.Users(), slog.New(slog.DiscardHandler)); err != nil {
		h.t.Fatal(err)
	}
	return dir
}

// withoutAPIKey gives the role api a folder of keys as an earlier version made it.
func (h *healthyPlatform) withoutAPIKey() []string {
	h.t.Helper()
	dir := filepath.Join(h.t.TempDir(), "keys")
	h.must(os.CopyFS(dir, os.DirFS(h.keys)))
	keys, err := filepath.Glob(filepath.Join(dir, "*"))
	h.must(err)
	for _, key := range keys {
		h.must(os.Chmod(key, 0o600))
	}
	h.must(os.Chmod(dir, 0o700))
	h.must(os.Remove(server.KeyFile(dir, server.UserAPI)))
	return []string{"NATS_KEYS=" + dir, "ROLES=intake,worker,sweeper,notifier,api"}
}

// otherBroker runs a nats-server with these accounts and returns its URL.
func (p *platform) otherBroker(accounts string) string {
	p.t.Helper()
	dir := p.t.TempDir()
	text := fmt.Sprintf("listen: \"127.0.0.1:-1\"\njetstream { store_dir: %q }\n%s", filepath.Join(dir, "store"), accounts)
	file := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	srv := serveNATS(p.t, file)
	p.t.Cleanup(func() { _ = srv.Shutdown() })
	return srv.ClientURL()
}

// withoutRight is another broker with a worker that lacks the right to one subject.
func (h *healthyPlatform) withoutRight(line string) []string {
	h.t.Helper()
	keysDir := filepath.Join(h.t.TempDir(), "keys")
	keys, err := server.EnsureKeys(keysDir, append(server.Users(), server.UserAdmin), slog.New(slog.DiscardHandler))
	if err != nil {
		h.t.Fatal(err)
	}
	users, err := server.Configuration(keys, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	before, after, found := strings.Cut(users, line+"\n")
	if !found {
		h.t.Fatalf("no user has the right %s", line)
	}
	settings := []string{"NATS_URL=" + h.otherBroker(before+"\n"+after), "NATS_KEYS=" + keysDir}
	if _, stderr, code := h.cliWith(append(slices.Clone(h.settings), settings...), "broker", "setup"); code != 0 {
		h.t.Fatalf("broker setup: %s", stderr)
	}
	return settings
}
