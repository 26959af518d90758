package e2e_test

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/dev/smtptest"
	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
)

// scene is a platform on which every possible secret is a canary.
type scene struct {
	*platform
	c       *canaries
	binary  string // of pgcourier: its processes hold the secrets that they got
	strict  bool   // secrets are given as files, so that no process may hold one
	secrets string // the folder of the secret files

	chat       chat
	bucket     bucket
	full       atomic.Bool // the bucket has no room
	smtp       *smtptest.Server
	hook       *hook
	traces     string // the receiver's address
	authorized atomic.Int64
	gate       *gate
	http       string // where the worker answers

	shared   []string // settings of every process
	storage3 []string // folder, bucket and chat
	channels []string // of a notifier
	verifier []string
	identity string
	roles    []string
}

func newScene(t *testing.T, strict bool) *scene {
	t.Helper()
	s := &scene{c: newCanaries(t), strict: strict, secrets: t.TempDir(), chat: newChat(t), bucket: newBucket(t), hook: newHook(t)}
	t.Cleanup(func() { s.dropLogins(t) }) // after the platform's end
	s.platform = setup(t)
	var err error
	if s.binary, err = exec.LookPath("pgcourier"); err == nil {
		s.binary, err = filepath.EvalSymlinks(s.binary)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.c.listen(s.nc)
	for _, user := range server.Users() {
		file, err := server.FindKey(server.KeysDir(s.data), user)
		if err != nil {
			t.Fatal(err)
		}
		s.c.add("NATS seed of "+string(user), read(t, file))
	}
	s.gate = newGate(t, "tenant_acme")
	s.http = freeAddress(t)
	s.shared = []string{"DATABASE_URL=", s.secret("DATABASE_URL", s.login("DATABASE_URL", "SUPERUSER", s.database)), "LOG_LEVEL=debug"}
	if !strict {
		s.shared = append(s.shared, "LOG_FORMAT=text")
	}
	s.projects()
	s.receive()
	s.post()
	s.store()
	var recipient string
	s.identity, recipient = identityFile(t)
	s.c.add("age identity", read(t, s.identity))
	s.storage3 = append(s.storage3, "AGE_RECIPIENTS="+recipient)
	s.verifier = []string{
		"AGE_IDENTITY_FILE=" + s.identity,
		s.secret("VERIFY_SCRATCH_URL", s.login("VERIFY_SCRATCH_URL", "CREATEDB", "postgres")),
	}
	return s
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// secret is a setting, as a variable or as a file.
func (s *scene) secret(name, value string) string {
	s.t.Helper()
	if !s.strict {
		return name + "=" + value
	}
	return name + "_FILE=" + s.file(name, value)
}

func (s *scene) file(name, text string) string {
	s.t.Helper()
	file := filepath.Join(s.secrets, strings.ReplaceAll(name, " ", "-"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// login makes a role of the cluster with a canary as password, and returns its URL.
func (s *scene) login(name, rights, database string) string {
	s.t.Helper()
	role := s.database + "_" + strings.ToLower(strings.ReplaceAll(name, " ", "_"))
	password := s.c.password(name)
	if err := executeIn(s.ctx, "postgres", fmt.Sprintf("CREATE ROLE %s LOGIN %s PASSWORD '%s'", role, rights, strings.ReplaceAll(password, "'", "''"))); err != nil {
		s.t.Fatal(err)
	}
	s.roles = append(s.roles, role)
	return s.dsn(role, password, database)
}

// dropLogins removes the roles of login after everything that they own is gone.
func (s *scene) dropLogins(t *testing.T) {
	t.Helper()
	for _, role := range s.roles {
		if err := executeIn(s.ctx, "postgres", "DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	}
}

// projects are rows with their own source: with a password, with a passfile, and with sources that
// cannot work.
func (s *scene) projects() {
	s.t.Helper()
	own := s.login("project dsn", "SUPERUSER", s.database)
	passfile := s.login("passfile", "SUPERUSER", s.database)
	u, err := url.Parse(passfile)
	if err != nil {
		s.t.Fatal(err)
	}
	password, _ := u.User.Password()
	file := s.file("passfile", "*:*:*:*:"+strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(password)+"\n")
	u.User = url.User(u.User.Username())
	for id, dsn := range map[string]string{
		"elsewhere": own,
		"filed":     u.String() + "&passfile=" + url.QueryEscape(file),
		"wrong":     s.dsn("postgres", s.c.password("wrong password of a dsn"), s.database),
		"down":      strings.Replace(s.dsn("u", s.c.password("dsn of a server that is down"), s.database), strconv.Itoa(cluster.Port), "1", 1),
		"broken":    "postgres://u:" + s.c.word("dsn that cannot be read") + "%zz@h/d",
	} {
		conn := s.sql()
		if _, err := conn.Exec(s.ctx, "INSERT INTO control_plane.projects VALUES ($1, $1, 'active', 'tenant_globex', $2)", id, dsn); err != nil {
			s.t.Fatal(err)
		}
	}
	s.shared = append(s.shared, "PROJECT_QUERY=SELECT id, name, upper(status) = 'ACTIVE' AS active, ARRAY[schema_name] AS schemas, dsn FROM control_plane.projects WHERE id = $1")
}

// receive accepts traces.
func (s *scene) receive() {
	s.t.Helper()
	key := s.c.word("OTEL_EXPORTER_OTLP_HEADERS")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if r.Header.Get("Api-Key") == key {
			s.authorized.Add(1)
		}
		s.c.search(sinkTraces, "a batch", body)
		w.Header().Set("Content-Type", "application/x-protobuf")
		if strings.HasPrefix(r.URL.Path, "/refused/") {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	s.t.Cleanup(server.Close)
	s.traces = server.URL
	s.shared = append(s.shared, "OTEL_EXPORTER_OTLP_ENDPOINT="+server.URL, "OTEL_BSP_SCHEDULE_DELAY=50")
	if !s.strict { // no form of it is in a file
		s.shared = append(s.shared, "OTEL_EXPORTER_OTLP_HEADERS=Api-Key="+key)
	}
}

// toldChat is the notifier's chat.
const toldChat = privateChat + 1

// post starts a mail server, and configures every channel.
func (s *scene) post() {
	s.t.Helper()
	password := s.c.password("SMTP_URL")
	var err error
	if s.smtp, err = smtptest.Start(smtptest.Config{User: "courier", Password: password}); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := s.smtp.Close(); err != nil {
			s.t.Error(err)
		}
	})
	hook, err := url.Parse(s.hook.server.URL)
	if err != nil {
		s.t.Fatal(err)
	}
	hook.User = url.UserPassword("u", s.c.password("WEBHOOK_URL's password"))
	hook.Path, hook.RawQuery = "/hook/"+s.c.word("WEBHOOK_URL's path"), "key="+s.c.word("WEBHOOK_URL's query")
	key := s.c.word("WEBHOOK_SECRET's bytes") + rand.Text()[:10]
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(key))
	s.c.add("WEBHOOK_SECRET", secret)
	s.c.add("TELEGRAM_TOKEN", s.chat.token)
	s.chat.AddChat(telegramtest.Chat{ID: toldChat, Type: "private"}) // each chat has a pace of its own
	s.chat.SetMember(toldChat, s.chat.token, telegramtest.Admin())
	s.channels = []string{
		"DATABASE_URL=", s.mailer(password), "OPERATOR_EMAIL=operator@example.org", "NOTIFY_COMPLETED=true",
		s.secret("WEBHOOK_URL", hook.String()), s.secret("WEBHOOK_SECRET", secret),
		s.secret("TELEGRAM_TOKEN", s.chat.token), fmt.Sprintf("NOTIFY_TELEGRAM_CHAT=telegram://%d?api=%s", toldChat, url.QueryEscape(s.chat.URL())),
		"NOTIFY_BACKOFF=20ms", "NOTIFY_DIGEST=0s",
	}
}

// mailer returns SMTP_URL with this password.
func (s *scene) mailer(password string) string {
	s.t.Helper()
	u := url.URL{
		Scheme: "smtp", User: url.UserPassword("courier", password), Host: s.smtp.Addr(),
		RawQuery: url.Values{"from": {"backups@example.org"}, "ca": {s.file("ca.pem", string(s.smtp.CA()))}}.Encode(),
	}
	return s.secret("SMTP_URL", u.String())
}

// store configures all destinations, each required. The bucket can be filled.
func (s *scene) store() {
	s.t.Helper()
	to, err := url.Parse(s.bucket.url)
	if err != nil {
		s.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // the signature covers it
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.full.Load() && r.Method == http.MethodPut {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusInsufficientStorage)
			_, _ = io.WriteString(w, "<Error><Code>XMinioStorageFull</Code><Message>full</Message></Error>")
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	s.t.Cleanup(server.Close)
	key, secret := s.c.word("S3 access key"), s.c.word("S3 secret key")
	s.storage3 = []string{
		fmt.Sprintf("STORAGE=file://%s,s3://exports?region=us-east-1&path_style=true&required=true&endpoint=%s,telegram://%d?required=true&api=%s",
			s.storage, url.QueryEscape(server.URL), privateChat, url.QueryEscape(s.chat.URL())),
		s.secret("TELEGRAM_TOKEN", s.chat.token),
	}
	if s.strict {
		s.storage3 = append(s.storage3, "AWS_SHARED_CREDENTIALS_FILE="+s.file("aws", fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", key, secret)))
	} else {
		s.storage3 = append(s.storage3, "AWS_ACCESS_KEY_ID="+key, "AWS_SECRET_ACCESS_KEY="+secret)
	}
}

// serve starts one process with these roles.
func (s *scene) serve(roles string, settings ...string) *worker {
	s.t.Helper()
	return s.start(append(append([]string{"ROLES=" + roles}, s.shared...), settings...)...)
}

// command runs a command and searches its output, including debug lines.
func (s *scene) run(settings []string, args ...string) result {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "pgcourier", args...)
	cmd.Dir = s.t.TempDir()
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "TMPDIR=" + cmd.Dir}, s.environ(append(append([]string{}, s.shared...), settings...)...)...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		s.t.Fatal(err)
	}
	where := "pgcourier " + strings.Join(args, " ")
	s.c.search(sinkCommands, where, []byte(stdout.String()+stderr.String()))
	s.c.files(sinkFolders, cmd.Dir)
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}
