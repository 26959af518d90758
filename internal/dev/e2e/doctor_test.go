package e2e_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/dev/pgbouncer"
	"github.com/pgcourier/pgcourier/internal/doctor"
)

// diagnosis is doctor's output, by the checks' names.
type diagnosis map[string]doctor.Finding

// marked is a part of every secret of a healthyPlatform.
const marked = "canary"

// diagnose runs doctor, which must end with the code and show no secret.
func (p *platform) diagnose(code int, settings []string, args ...string) diagnosis {
	p.t.Helper()
	environ := append([]string{"AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=" + marked + "-s3"}, p.environ(settings...)...)
	for i, e := range environ { // a variable that is not a setting
		environ[i] = strings.TrimPrefix(e, "PGCOURIER_PLAIN_")
	}
	stdout, stderr, got := p.command(environ, append([]string{"doctor", "--output", "json"}, args...)...)
	var all []doctor.Finding
	if err := json.Unmarshal([]byte(stdout), &all); err != nil || got != code {
		p.t.Errorf("doctor ended with %d, want %d (%v)\n%s%s", got, code, err, stdout, stderr)
	}
	if strings.Contains(stdout+stderr, marked) {
		p.t.Errorf("doctor shows a secret:\n%s%s", stdout, stderr)
	}
	p.checkSecrets("doctor", stdout+stderr)
	out := diagnosis{}
	for _, f := range all {
		if _, twice := out[f.Check]; twice {
			p.t.Errorf("%s is there twice", f.Check)
		}
		out[f.Check] = f
	}
	return out
}

// Each check that reads another clock names a clock that is wrong.
func TestDoctorNamesAClockThatIsOff(t *testing.T) {
	t.Parallel()
	p := setup(t)
	c, err := config.Load(p.environ(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for ahead, want := range map[time.Duration]doctor.State{0: doctor.OK, -10 * time.Second: doctor.Warning, time.Hour: doctor.Fault} {
		found := doctor.Examine(t.Context(), doctor.Config{
			Settings: c, Now: func() time.Time { return time.Now().Add(ahead) }, Only: []string{"database/clock", "broker/clock"},
		})
		if len(found) != 4 {
			t.Fatalf("%+v", found)
		}
		for _, f := range found {
			if !strings.HasSuffix(f.Check, "/clock") { // what it depends on is shown too
				continue
			}
			if f.State != want || want != doctor.OK && !strings.Contains(f.Fix, "NTP") {
				t.Errorf("%s off: %+v", ahead, f)
			}
		}
	}
}

// If nothing is configured, doctor says what is missing, and ends.
func TestDoctorWithNothing(t *testing.T) {
	t.Parallel()
	p := platform{t: t}
	dir := t.TempDir()
	stdout, stderr, code := p.bare("doctor", "--data-dir", filepath.Join(dir, "data"))
	for _, want := range []string{"PGCOURIER_DATABASE_URL is not set", "set PGCOURIER_DATABASE_URL to", "no embedded broker is running", "notify/email", "CHECK"} {
		if code != 1 || !strings.Contains(stdout, want) {
			t.Errorf("exit code %d, no %q in\n%s%s", code, want, stdout, stderr)
		}
	}
	if !strings.Contains(stderr, "to be fixed: ") || strings.Contains(stderr, "notify") {
		t.Errorf("it ended with %s", stderr)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("doctor made %v (%v)", left, err)
	}
	for _, args := range [][]string{{"--only", "king"}, {"--timeout", "0s"}, {"--log-level", "loud"}} {
		if _, stderr, code := p.bare(append([]string{"doctor"}, args...)...); code != 2 {
			t.Errorf("%v: exit code %d, %s", args, code, stderr)
		}
	}
}

// Test messages are sent only on demand; --only shows what it names.
func TestDoctorSendsTestsWhenAsked(t *testing.T) {
	t.Parallel()
	h := setupHealthyPlatform(t)
	posts := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { posts <- r.Header.Get("Ce-Type") }))
	t.Cleanup(hook.Close)
	settings := append(slices.Clone(h.settings), "WEBHOOK_URL="+hook.URL, "NOTIFY_HOOKS=slack+"+hook.URL)
	d := h.diagnose(0, settings, "--only", "notify", "--send-test")
	for _, name := range []string{"notify/email/test", "notify/webhook/test", "notify/telegram/test"} {
		if d[name].State != doctor.OK {
			t.Errorf("%s: %+v", name, d[name])
		}
	}
	var posted []string
	for range len(posts) {
		posted = append(posted, <-posts)
	}
	slices.Sort(posted) // the checks run concurrently
	if len(h.smtp.Mails()) != 1 || !slices.Equal(posted, []string{"", "pgcourier.test"}) || len(h.chat.Messages(privateChat)) != 1 {
		t.Errorf("%d mails, posted %q, %d messages", len(h.smtp.Mails()), posted, len(h.chat.Messages(privateChat)))
	}
	if slices.ContainsFunc(slices.Collect(maps.Keys(d)), func(name string) bool { return !strings.HasPrefix(name, "notify/") }) {
		t.Errorf("--only notify showed %+v", d)
	}
	key := h.file("key", h.setting("DATABASE_URL")[len("DATABASE_URL="):])
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	d = h.diagnose(0, append(settings, "DATABASE_URL=", "DATABASE_URL_FILE="+key), "--only", "keys")
	if f := d["keys/files/key"]; f.State != doctor.Warning || !strings.Contains(f.Fix, "chmod") {
		t.Errorf("a password that all can read: %+v", f)
	}
}

// With one login for all there is one line about it. An account that is nearly full is a fault
// before the broker refuses a message.
func TestDoctorSeesAnAccountThatIsFull(t *testing.T) {
	t.Parallel()
	p := setup(t)
	at := p.otherBroker(`accounts { ALL { jetstream { max_file: 3MB }, users: [ { user: all, password: canary-nats } ] } }`)
	settings := []string{"NATS_URL=" + strings.Replace(at, "//", "//all:canary-nats@", 1), "NATS_KEYS="}
	if _, stderr, code := p.cliWith(settings, "broker", "setup"); code != 0 {
		t.Fatalf("broker setup: %s", stderr)
	}
	d := p.diagnose(0, settings, "--only", "broker")
	if f := d["broker/login"]; f.State != doctor.OK || !strings.Contains(f.Found, "all in account ALL, which has unlimited rights") || d["broker/limits"].State != doctor.OK {
		t.Errorf("found %+v", d)
	}
	nc, err := nats.Connect(at, nats.UserInfo("all", "canary-nats"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for range 3 { // of a megabyte each, less some room
		if _, err := nc.Request(events.TypeRequested, make([]byte, 1_000_000), timeout); err != nil {
			t.Fatal(err)
		}
	}
	d = p.diagnose(1, settings, "--only", "broker/limits")
	if f := d["broker/limits"]; f.State != doctor.Fault || !strings.Contains(f.Found, "of 3.0 MiB") || !strings.Contains(f.Fix, "max_file") {
		t.Errorf("a full account: %+v", f)
	}
}

// A pooler before the control plane's database is named: dumps cannot be taken through each.
func TestDoctorNamesAPooler(t *testing.T) {
	t.Parallel()
	p := setup(t)
	pooler, err := pgbouncer.Start(t.Context(), pgbouncer.Config{Server: cluster.URL(p.database), Mode: "transaction"})
	if errors.Is(err, pgbouncer.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pooler.Stop(); err != nil {
			t.Error(err)
		}
	})
	p.start() // it makes the ledger
	f := p.diagnose(0, []string{"DATABASE_URL=" + pooler.URL(p.database)}, "--only", "database")["database/pooler"]
	if f.State != doctor.Warning || !strings.Contains(f.Found, "a pooler is in front of the database") {
		t.Errorf("behind a pooler: %+v", f)
	}
	if f, found := p.diagnose(0, nil, "--only", "database")["database/pooler"]; found {
		t.Errorf("without a pooler: %+v", f)
	}
}
