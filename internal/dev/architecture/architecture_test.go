package architecture_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/pgcourier/pgcourier"

// rule lists the packages that a package, or a tree (a name that ends with /...), may import, also
// through others.
type rule struct {
	pkg  string
	may  []string // our packages; each includes those of its own rule
	why  string
	deny []string // packages that it must not reach, even through may
}

// allowed has a rule with its reason for each of our packages.
var allowed = []rule{
	{"schemas", nil, "the contract imports nothing of ours", nil},
	{"events/codes", nil, "the codes of failures, for the worker and its clients: a leaf", []string{"github.com"}},
	{"events", []string{"events/codes", "schemas"}, "gateways import events, so it must not import the worker", []string{"github.com/nats-io/nats-server", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"handlers", []string{"events", "schemas", "internal/export", "internal/failpoint", "internal/handover", "internal/notify", "internal/restore/operation", "internal/retention", "internal/seal", "internal/secret"}, "message in, core call, message out", []string{"github.com/jackc/pgx", "github.com/nats-io/nats-server"}},
	{"internal/secret", nil, "a leaf", nil},
	{"internal/api", []string{"events", "events/codes", "schemas", "internal/api/access", "internal/api/issuer", "internal/broker", "internal/libpq/controlplane", "internal/delivery", "internal/export", "internal/failpoint", "internal/handover", "internal/ledger", "internal/replay", "internal/retention", "internal/schedule", "internal/seal", "internal/secret"}, "it answers over HTTP what a gateway asks the broker and what commands ask the ledger, and runs no export: no storage, no pg_dump, no handler", []string{"github.com/nats-io/nats-server", "github.com/minio", "github.com/spf13/cobra"}},
	{"internal/api/console", []string{"events", "events/codes", "internal/api", "internal/api/access", "internal/export", "internal/ledger", "internal/replay", "internal/retention", "internal/seal", "internal/secret"}, "pages over the API's operations: it reaches the ledger and the broker through them only", []string{"github.com/nats-io/nats-server", "github.com/minio", "github.com/spf13/cobra"}},
	{"internal/api/issuer", []string{"internal/api/access", "internal/secret"}, "verification of an issuer's tokens only", []string{"github.com/nats-io", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill", "github.com/danielgtaylor", "github.com/zitadel"}},
	{"internal/api/access", []string{"internal/secret"}, "the rights of callers only: the ledger stores tokens and does not import HTTP", []string{"github.com/nats-io", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill", "github.com/danielgtaylor"}},
	{"internal/failpoint", nil, "a leaf", nil},
	{"internal/pgcluster/freeport", nil, "a leaf", nil},
	{"internal/delivery", nil, "the delivery of a message and a handler's decisions: a leaf, so that handlers do not depend on the broker", []string{"github.com/nats-io", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/pgcluster/contents", nil, "a tool for the demo and the tests", []string{"github.com/nats-io"}},
	{"internal/pgversion", nil, "a leaf: facts about versions, without a connection to PostgreSQL", []string{"github.com/nats-io", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/config", []string{"internal/secret"}, "it reads the environment and imports none of our packages except secret", []string{"github.com/nats-io", "github.com/jackc/pgx"}},
	{"internal/seal", nil, "it compresses and encrypts any bytes, and does not depend on PostgreSQL's formats", []string{"github.com/nats-io", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/pgdump/archive", []string{"internal/export", "internal/failpoint", "internal/pgversion", "internal/seal", "internal/secret"}, "it parses the bytes that pg_dump writes; the use case names the formats", []string{"github.com/nats-io", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/export", []string{"events/codes", "internal/delivery", "internal/failpoint", "internal/seal", "internal/secret"}, "the use case depends on no technology: it names the formats, Inspect parses them", []string{"github.com/nats-io", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill", "github.com/minio"}},
	{"internal/handover", []string{"events/codes", "internal/delivery", "internal/export", "internal/failpoint", "internal/seal", "internal/secret"}, "links and their files: it uses records and files through its own interfaces", []string{"github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill", "github.com/minio", "github.com/nats-io"}},
	{"internal/handover/receipt", []string{"events/codes", "internal/delivery", "internal/export", "internal/failpoint", "internal/seal", "internal/secret"}, "signed receipts and their verification: it does not depend on storage", []string{"github.com/nats-io", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill", "github.com/minio"}},
	{"internal/libpq/controlplane", []string{"internal/secret"}, "the connection to the control plane, for the ledger and the look-up of projects", []string{"github.com/nats-io", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/spool", nil, "a leaf", nil},
	{"internal/libpq", []string{"internal/pgversion", "internal/secret"}, "connections to PostgreSQL", []string{"github.com/nats-io", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/pgdump", []string{"internal/pgdump/archive", "internal/export", "internal/failpoint", "internal/libpq", "internal/pgversion", "internal/seal", "internal/secret", "internal/spool"}, "adapters do not import each other", []string{"github.com/nats-io", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/restore", []string{"internal/export", "internal/failpoint", "internal/libpq", "internal/pgdump/archive", "internal/pgversion", "internal/seal", "internal/secret", "internal/spool"}, "it checks dumps, and runs pg_dump for a renamed schema only: of pgdump it imports the formats only", []string{"github.com/nats-io", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/restore/operation", []string{"events/codes", "internal/delivery", "internal/export", "internal/failpoint", "internal/seal", "internal/secret"}, "the use case of restores by event: it uses the engine, the ledger and the exports through its own interfaces", []string{"github.com/nats-io", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/restore/scratch", []string{"internal/config", "internal/export", "internal/failpoint", "internal/libpq", "internal/pgcluster", "internal/pgdump/archive", "internal/pgversion", "internal/restore", "internal/sandbox", "internal/seal", "internal/secret", "internal/spool"}, "it combines the sandbox, temporary servers and the restore, which do not import each other", []string{"github.com/nats-io", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/project", []string{"internal/libpq/controlplane", "internal/export", "internal/failpoint", "internal/restore/operation", "internal/seal", "internal/secret"}, "adapters do not import each other", []string{"github.com/nats-io", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/ledger", []string{"internal/api/access", "internal/handover", "internal/restore/operation", "internal/retention", "internal/libpq/controlplane", "internal/export", "internal/failpoint", "internal/seal", "internal/secret"}, "adapters do not import each other", []string{"github.com/nats-io", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/storage/destinations", []string{"internal/config", "internal/export", "internal/failpoint", "internal/seal", "internal/secret", "internal/storage/..."}, "it reads a setting and opens every driver", []string{"github.com/nats-io", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/storage/...", []string{"internal/export", "internal/failpoint", "internal/seal", "internal/secret", "internal/storage/..."}, "adapters do not import each other", []string{"github.com/nats-io", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/broker", []string{"events", "internal/export", "internal/secret", "internal/schedule", "schemas"}, "connections to a broker, its streams and consumers, and the use case's queue; the contract has the names", []string{"github.com/jackc/pgx", "github.com/nats-io/nats-server"}},
	{"internal/broker/consumer", []string{"events", "internal/broker", "internal/delivery", "internal/export", "internal/failpoint", "internal/secret", "internal/schedule", "schemas"}, "it consumes messages from any broker and runs none", []string{"github.com/jackc/pgx", "github.com/nats-io/nats-server"}},
	{"internal/broker/server", []string{"events", "internal/broker", "internal/secret", "internal/schedule", "schemas"}, "the embedded broker and its users; it consumes no messages", []string{"github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill/message/router"}},
	{"internal/broker/setup", []string{"events", "internal/broker", "internal/broker/server", "internal/config", "internal/notify", "internal/secret", "internal/schedule", "schemas"}, "the broker's configuration; of notify it uses the names of the channels only", []string{"github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill/message/router"}},
	{"internal/notify", []string{"events", "schemas"}, "recipients and retries: it imports no channel", []string{"github.com/wneessen", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/notify/queue", []string{"events", "schemas", "internal/broker", "internal/notify", "internal/secret"}, "notifications in the broker; it imports no channel", []string{"github.com/jackc/pgx", "github.com/nats-io/nats-server"}},
	{"internal/notify/channels", []string{"events", "schemas", "internal/config", "internal/export", "internal/failpoint", "internal/notify/...", "internal/pgversion", "internal/seal", "internal/secret", "internal/storage/..."}, "it opens the configured channels, so that they import neither it nor each other", []string{"github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/notify/email", []string{"events", "schemas", "internal/notify", "internal/secret"}, "channels do not import each other", []string{"github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/notify/post", []string{"events", "schemas", "internal/notify"}, "one request to an address, for the channels that post", []string{"github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/notify/hooks", []string{"events", "schemas", "internal/notify", "internal/notify/post", "internal/secret"}, "channels do not import each other", []string{"github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/notify/webhook", []string{"events", "schemas", "internal/notify", "internal/notify/post", "internal/secret"}, "channels do not import each other", []string{"github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/notify/telegram", []string{"events", "schemas", "internal/notify", "internal/export", "internal/failpoint", "internal/seal", "internal/secret", "internal/storage/..."}, "it uses the client of the Telegram storage", []string{"github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/replay", []string{"events", "schemas"}, "it needs the streams only, also without a ledger", []string{"github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill", "github.com/nats-io/nats-server"}},
	{"internal/retention", []string{"internal/export", "internal/failpoint", "internal/seal", "internal/secret"}, "retention rules and deletions: it depends on no technology", []string{"github.com/nats-io", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill", "github.com/minio"}},
	{"internal/schedule", nil, "times of schedules only: it runs nothing", []string{"github.com/nats-io", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/sandbox", nil, "confinement of a program; it imports none of our packages", []string{"github.com/nats-io", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/service", []string{"events", "events/codes", "handlers", "schemas", "internal/api/...", "internal/broker/...", "internal/config", "internal/libpq/controlplane", "internal/delivery", "internal/export", "internal/failpoint", "internal/handover/...", "internal/ledger", "internal/libpq", "internal/notify/...", "internal/pgcluster", "internal/pgdump/...", "internal/pgversion", "internal/project", "internal/replay", "internal/restore/...", "internal/retention", "internal/schedule", "internal/sandbox", "internal/seal", "internal/secret", "internal/spool", "internal/storage/...", "internal/telemetry"}, "it wires the roles of serve; the commands import it", nil},
	{"internal/stored", []string{
		"events", "events/codes", "schemas", "internal/config", "internal/libpq/controlplane", "internal/export", "internal/failpoint", "internal/ledger", "internal/libpq", "internal/pgcluster",
		"internal/pgdump/...", "internal/pgversion", "internal/restore/...", "internal/retention", "internal/sandbox", "internal/seal", "internal/secret", "internal/spool", "internal/storage/...",
	}, "the commands for stored exports, at the service's level: without a broker, so that they work during an outage", []string{"github.com/nats-io/nats-server", "github.com/ThreeDotsLabs/watermill", "github.com/spf13/cobra"}},
	{"internal/doctor", []string{
		"events", "schemas", "internal/schedule", "internal/broker", "internal/broker/server", "internal/broker/setup", "internal/config", "internal/libpq/controlplane", "internal/export",
		"internal/failpoint", "internal/handover", "internal/handover/receipt", "internal/ledger", "internal/libpq", "internal/notify/...", "internal/pgdump/...", "internal/pgversion", "internal/project", "internal/restore", "internal/retention", "internal/schedule", "internal/sandbox",
		"internal/seal", "internal/secret", "internal/spool", "internal/storage/...",
	}, "at the service's level it opens everything that serve opens, without the service itself: a check must not depend on the checked program", []string{"github.com/ThreeDotsLabs/watermill/message/router", "github.com/spf13/cobra"}},
	{"internal/telemetry", []string{"events", "schemas", "internal/export", "internal/failpoint", "internal/notify", "internal/seal", "internal/secret"}, "it wraps the ports and imports no adapter", []string{"github.com/jackc/pgx", "github.com/nats-io/nats-server", "github.com/minio"}},
	{"internal/term", []string{"events", "schemas"}, "the output of commands; of our packages it imports events only", []string{"github.com/nats-io/nats-server", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/demo", []string{"events/...", "handlers", "schemas", "internal/..."}, "the demonstration of serve and the commands; the linter keeps test servers out of the shipped binary", nil},
	{"internal/pgcluster", []string{"internal/pgcluster/freeport"}, "a tool for the demo and the tests", nil},
	{"internal/dev/pgbouncer", []string{"internal/pgcluster/freeport"}, "a pooler for tests", nil},
	{"internal/dev/randomschema", nil, "random SQL for tests; it uses no server", nil},
	{"internal/dev/roundtrip", nil, "it has tests only", nil},
	{"internal/dev/e2e", nil, "it has tests only", nil},
	{"internal/dev/architecture", nil, "it has tests only", nil},
	{"internal/dev/faults/...", []string{"events", "schemas", "internal/pgcluster/contents", "internal/export", "internal/dev/smtptest", "internal/failpoint", "internal/pgcluster/freeport", "internal/pgcluster", "internal/seal", "internal/secret", "internal/storage/..."}, "it runs the worker as a process only", []string{"github.com/ThreeDotsLabs/watermill"}},
	{"internal/dev/bench", []string{"events", "schemas", "internal/dev/s3test", "internal/dev/telegramtest", "internal/pgcluster/freeport", "internal/pgcluster"}, "it runs the worker as a process only", []string{"github.com/ThreeDotsLabs/watermill"}},
	{"internal/dev/faketool", nil, "scripts in the place of programs, for tests", nil},
	{"internal/dev/pgtest", []string{"internal/pgcluster", "internal/pgcluster/freeport"}, "PostgreSQL servers for tests", []string{"github.com/nats-io"}},
	{"internal/dev/brokertest", []string{"internal/broker", "internal/pgcluster/freeport"}, "brokers for tests", []string{"github.com/jackc/pgx"}},
	{"internal/dev/storagetest", []string{"internal/export", "internal/failpoint", "internal/seal", "internal/secret", "internal/storage"}, "the contract of the drivers imports none of them", []string{"github.com/nats-io", "github.com/jackc/pgx", "github.com/ThreeDotsLabs/watermill"}},
	{"internal/dev/chromium", nil, "a browser for tests", nil},
	{"internal/dev/oidctest", nil, "an OpenID Connect issuer for tests", nil},
	{"internal/dev/sandboxtest", nil, "it asks the machine, not package sandbox, which it serves", nil},
	{"internal/dev/s3test", nil, "an S3 server for tests", nil},
	{"internal/dev/telegramtest", nil, "a Bot API server for tests", nil},
	{"internal/dev/fuzz", nil, "it runs go test and imports no tested package", nil},
	{"internal/dev/apifuzz", nil, "it knows a server's OpenAPI document only", nil},
	{"internal/dev/steady", nil, "it runs go test and imports no tested package", nil},
	{"internal/dev/licences", nil, "a tool of make check; it reads one file", nil},
	{"internal/dev/smtptest", []string{"internal/pgcluster/freeport"}, "a mail server for tests", nil},
	{"docs/examples/gateway-go", []string{"events", "schemas"}, "the imports of a gateway", []string{"github.com/nats-io/nats-server", "github.com/jackc/pgx"}},
	{"docs/examples/consumer-go", []string{"events", "schemas"}, "the imports of a separate consumer", []string{"github.com/nats-io/nats-server", "github.com/jackc/pgx"}},
	{"cmd/...", []string{"..."}, "wires everything; code that is not shipped is not linked", []string{module + "/internal/dev", "github.com/johannesboyne"}},
}

// reaches reports whether the rule allows one of our packages, directly or through another rule.
func (r rule) reaches(pkg string) bool {
	return slices.ContainsFunc(r.may, func(m string) bool {
		if covers(m, pkg) {
			return true
		}
		i := slices.IndexFunc(allowed, func(other rule) bool { return other.pkg == m && m != r.pkg })
		return i >= 0 && allowed[i].reaches(pkg)
	})
}

func TestDirectionOfDependencies(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for pkg, deps := range dependencies(t) {
		i := slices.IndexFunc(allowed, func(r rule) bool { return covers(r.pkg, pkg) })
		if i < 0 {
			t.Errorf("package %s has no rule: say what it may import, and why", pkg)
			continue
		}
		rule := allowed[i]
		seen[rule.pkg] = true
		for _, dep := range deps {
			own, ours := strings.CutPrefix(dep, module+"/")
			switch {
			case ours && own != pkg && !rule.reaches(own):
				t.Errorf("%s imports %s: %s", pkg, own, rule.why)
			case slices.ContainsFunc(rule.deny, func(d string) bool { return dep == d || strings.HasPrefix(dep, d+"/") || strings.HasPrefix(dep, d+".") }):
				t.Errorf("%s imports %s: %s", pkg, dep, rule.why)
			}
		}
	}
	for _, rule := range allowed {
		if !seen[rule.pkg] {
			t.Errorf("the rule for %s covers no package", rule.pkg)
		}
	}
}

func TestEveryPackageHasADocComment(t *testing.T) {
	t.Parallel()
	for _, line := range goList(t, "-f", "{{.ImportPath}}\t{{.Doc}}") {
		pkg, doc, _ := strings.Cut(line, "\t")
		if strings.TrimSpace(doc) == "" {
			t.Errorf("package %s has no doc comment", pkg)
		}
	}
}

func TestTheTopLevelIsTheGivenOne(t *testing.T) {
	t.Parallel()
	want := []string{
		".ci", ".dockerignore", ".gitignore", ".golangci.yml", "CHANGELOG.md", "CONTRIBUTING.md", "Dockerfile", "LICENSE", "Makefile", "README.md", "SECURITY.md", "cmd",
		"deploy", "docs", "events", "go.mod", "go.sum", "handlers", "internal", "schemas",
		"testdata", // no package: bad-input, the messages that any worker or gateway of this contract is held to
	}
	out, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	var got []string
	for _, f := range strings.Fields(string(out)) {
		got = append(got, strings.Split(f, "/")[0])
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("top level is\n%q, want\n%q", got, want)
	}
}

// root is the path from this package to the module's folder.
var root = filepath.Join("..", "..", "..")

// covers reports whether the pattern (a package, or a tree that ends with /...) matches pkg.
func covers(pattern, pkg string) bool {
	tree, ok := strings.CutSuffix(pattern, "...")
	return pattern == pkg || ok && strings.HasPrefix(pkg+"/", tree)
}

func dependencies(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, line := range goList(t, "-f", "{{.ImportPath}} {{join .Deps \" \"}}") {
		f := strings.Fields(line)
		out[strings.TrimPrefix(f[0], module+"/")] = f[1:]
	}
	return out
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append(append([]string{"list"}, args...), "./...")...)
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
