package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/project"
)

func readRoot(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// dockerfile is the Dockerfile's instructions, one a line, continuation lines joined.
func dockerfile(t *testing.T) []string {
	t.Helper()
	text := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(readRoot(t, "Dockerfile"), "")
	return strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\\\n", " ")), "\n")
}

func compose(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "deploy/compose/compose.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatalf("compose's own parser: %v", err)
	}
	return p
}

// built is the binary that the Dockerfile builds.
func built(t *testing.T) string {
	t.Helper()
	file, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

const builtVersion = "1.2.3-test"

var buildOnce = sync.OnceValues(func() (string, error) {
	b, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		return "", err
	}
	line := dockerBuild.FindStringSubmatch(string(b))
	if line == nil {
		return "", errors.New("the Dockerfile has no RUN line with go build")
	}
	file := filepath.Join(scratch, "built", "pgcourier")
	cmd := exec.Command("sh", "-c", strings.ReplaceAll(line[1], "/out/pgcourier", file))
	cmd.Dir, cmd.Env = root, append(os.Environ(), "VERSION="+builtVersion)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return file, nil
})

var dockerBuild = regexp.MustCompile(`(?m)^RUN (?:--mount=\S+ )*(.*\bgo build .*)$`)

// accepts fails unless the program accepts a command line. The program does not run it: it checks
// the arguments before the format of the output, which is an invalid one.
func accepts(t *testing.T, where string, args []string) {
	t.Helper()
	const unknown = "not-run"
	line := slices.Clone(args)
	at := slices.Index(line, "--")
	if at < 0 {
		at = len(line)
	}
	p := platform{t: t}
	if _, stderr, code := p.bare(slices.Insert(line, at, "--output="+unknown)...); code != 2 || !strings.Contains(stderr, "--output: \""+unknown+"\"") {
		t.Errorf("%s: pgcourier %s ends with %d: %s", where, strings.Join(args, " "), code, stderr)
	}
}

// environ returns variables in the form of os.Environ.
func environOf(variables map[string]string) (out []string) {
	for k, v := range variables {
		out = append(out, k+"="+v)
	}
	return out
}

// imageEnv is the environment of the Dockerfile's ENV.
func imageEnv(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, line := range dockerfile(t) {
		if rest, ok := strings.CutPrefix(line, "ENV "); ok {
			for _, pair := range strings.Fields(rest) {
				k, v, _ := strings.Cut(pair, "=")
				out[k] = v
			}
		}
	}
	if len(out) == 0 {
		t.Fatal("the Dockerfile sets no variable")
	}
	return out
}

func TestTheDockerfileFitsTheProgram(t *testing.T) {
	t.Parallel()
	var copied, volumes []string
	for _, line := range dockerfile(t) {
		verb, rest, _ := strings.Cut(line, " ")
		switch {
		case verb == "COPY" && !strings.HasPrefix(rest, "--from"):
			sources := strings.Fields(rest)
			for _, f := range sources[:len(sources)-1] {
				copied = append(copied, f)
				if _, err := os.Stat(filepath.Join(root, f)); err != nil {
					t.Errorf("%s: %v", line, err)
				}
			}
		case verb == "VOLUME":
			volumes = words(t, rest)
		case verb == "ENTRYPOINT" && rest != `["pgcourier"]`:
			t.Errorf("the image runs %s", rest)
		case verb == "CMD":
			accepts(t, line, words(t, rest))
		case verb == "HEALTHCHECK":
			_, command, _ := strings.Cut(rest, " CMD ")
			w := words(t, command)
			if w[0] != "pgcourier" {
				t.Errorf("%s: not our command", line)
			}
			accepts(t, line, w[1:])
		case verb == "FROM" && strings.Contains(rest, "golang:"):
			_, rest, _ = strings.Cut(rest, " ") // the platform
			if v := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(readRoot(t, "go.mod")); !strings.HasPrefix(rest, "golang:"+v[1]+"-") {
				t.Errorf("%s, but go.mod needs %s", line, v[1])
			}
		}
	}
	c, err := config.Load(environOf(imageEnv(t)), nil)
	if err != nil {
		t.Errorf("the image's variables: %v", err)
	}
	stored, err := c.StorageURLs()
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{c.DataDir, strings.TrimPrefix(stored[0], "file://")} {
		if !slices.Contains(volumes, folder) {
			t.Errorf("%s is not among the image's volumes %q", folder, volumes)
		}
	}
	for _, f := range goListOf(t, "./cmd/pgcourier") {
		if !slices.Contains(copied, strings.Split(f, "/")[0]) {
			t.Errorf("the image's build lacks %s", f)
		}
	}
}

// imageMajors are the majors of PostgreSQL of which the image has the client tools.
func imageMajors(t *testing.T) []string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^ARG PG_MAJORS="([0-9 ]+)"$`).FindStringSubmatch(readRoot(t, "Dockerfile"))
	if m == nil {
		t.Fatal("the Dockerfile names no PG_MAJORS")
	}
	return strings.Fields(m[1])
}

// The image has a client for each server that was tried, so that each is dumped by its own.
func TestTheImageHasEveryMajor(t *testing.T) {
	t.Parallel()
	servers := regexp.MustCompile(`(?m)^\| (\d+)\.\d+ \|`).FindAllStringSubmatch(readRoot(t, "docs/postgresql-versions.md"), -1)
	want := map[string]bool{}
	for _, m := range servers {
		want[m[1]] = true
	}
	delete(want, "1") // formats of archives
	majors := imageMajors(t)
	if got := slices.Sorted(maps.Keys(want)); !slices.Equal(got, majors) {
		t.Errorf("the image has %q, tried were %q", majors, got)
	}
}

// OpenShift runs an image as an arbitrary user of group 0.
func TestTheImageRunsUnderAnyUser(t *testing.T) {
	t.Parallel()
	folders := regexp.MustCompile(`install -d -o 10001 -g 0 -m 0770 (.*)$`)
	var writable []string
	user := ""
	for _, line := range dockerfile(t) {
		if m := folders.FindStringSubmatch(line); m != nil {
			writable = strings.Fields(m[1])
		}
		if u, ok := strings.CutPrefix(line, "USER "); ok {
			user = u
		}
	}
	env := imageEnv(t)
	for _, folder := range []string{env["HOME"], env["PGCOURIER_DATA_DIR"], strings.TrimPrefix(env["PGCOURIER_STORAGE"], "file://")} {
		if !slices.Contains(writable, folder) {
			t.Errorf("group 0 may not write to %s: %q", folder, writable)
		}
	}
	if user != "10001:0" { // a number, which runAsNonRoot of Kubernetes can check
		t.Errorf("the image's user is %q", user)
	}
}

// words reads the JSON form of a Dockerfile's instruction.
func words(t *testing.T, text string) []string {
	t.Helper()
	var out []string
	if err := json.Unmarshal([]byte(text), &out); err != nil || len(out) == 0 {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

// goListOf lists the module's own packages that pkg is built from.
func goListOf(t *testing.T, pkg string) (out []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg)
	cmd.Dir, cmd.Stderr = root, os.Stderr
	b, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if own, ok := strings.CutPrefix(strings.TrimSpace(line), module+"/"); ok {
			out = append(out, own)
		}
	}
	return out
}

func TestTheDockerfilesBinaryRuns(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), built(t), "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), builtVersion) {
		t.Errorf("--version: %v\n%s", err, out)
	}
}

func TestAllBuildsUseTheSameFlags(t *testing.T) {
	t.Parallel()
	builds := map[string]string{}
	for _, file := range []string{"Dockerfile", "Makefile", "README.md"} {
		text := strings.NewReplacer("$(GO)", "go", "${VERSION}", "V", "$(VERSION)", "V").Replace(readRoot(t, file))
		for _, line := range regexp.MustCompile(`\bgo build .*`).FindAllString(text, -1) {
			if !strings.Contains(line, "./cmd/pgcourier") || strings.Contains(line, "-tags demoservers") || strings.Contains(line, "-o /dev/null") || strings.Contains(line, "build/old/") {
				continue // it is not shipped
			}
			line = regexp.MustCompile(`-o \S+`).ReplaceAllString(line, "-o FILE")
			builds[strings.TrimRight(line, "` ")] += file + " "
		}
	}
	if len(builds) != 1 {
		t.Errorf("built in several ways: %q", builds)
	}
	for line, files := range builds {
		if !strings.Contains(files, "Dockerfile") || !strings.Contains(files, "Makefile") || !strings.Contains(line, "-trimpath") {
			t.Errorf("%s is in %s", line, files)
		}
	}
	if !regexp.MustCompile(`(?m)^export CGO_ENABLED = 0$`).MatchString(readRoot(t, "Makefile")) || !strings.Contains(readRoot(t, "Dockerfile"), " CGO_ENABLED=0 go build") {
		t.Error("the Makefile and the Dockerfile differ in CGO_ENABLED")
	}
}

func TestTheComposeFileFitsTheProgram(t *testing.T) {
	t.Parallel()
	p := compose(t)
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind {
				if _, err := os.Stat(v.Source); err != nil {
					t.Errorf("%s mounts %s: %v", name, v.Source, err)
				}
			} else if _, ok := p.Volumes[v.Source]; !ok {
				t.Errorf("%s mounts the unknown volume %q", name, v.Source)
			}
		}
		for other, how := range s.DependsOn {
			dependency := p.Services[other]
			if how.Condition == types.ServiceConditionHealthy && dependency.HealthCheck == nil {
				t.Errorf("%s waits for the health of %s, which has no check", name, other)
			}
		}
	}
	worker := p.Services["worker"]
	accepts(t, "the worker's command", worker.Command)
	variables := imageEnv(t)
	for k, v := range worker.Environment {
		if v == nil {
			t.Errorf("%s has no value", k)
			continue
		}
		variables[k] = *v
	}
	c, err := config.Load(environOf(variables), nil)
	if err != nil {
		t.Fatalf("the worker's variables: %v", err)
	}
	if worker.StopGracePeriod == nil || time.Duration(*worker.StopGracePeriod) <= c.DrainTimeout {
		t.Errorf("the worker is given %v to stop, its exports %s", worker.StopGracePeriod, c.DrainTimeout)
	}
	if c.HTTPAddr == "" {
		t.Error("the health check asks a worker that does not answer")
	}
	// The addresses name the services beside it.
	postgres := p.Services["postgres"]
	db, err := pgx.ParseConfig(c.DatabaseURL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if db.Host != "postgres" || db.Database != *postgres.Environment["POSTGRES_DB"] || db.Password != *postgres.Environment["POSTGRES_PASSWORD"] {
		t.Errorf("the worker's database is %s on %s", db.Database, db.Host)
	}
	if u, err := url.Parse(c.NATSURL.Reveal()); err != nil || u.Hostname() != "nats" {
		t.Errorf("the worker's broker is %s (%v)", u, err)
	}
	// The server's own pg_dump is there.
	if majors := imageMajors(t); !slices.Contains(majors, strings.TrimPrefix(postgres.Image, "postgres:")) {
		t.Errorf("the server is %s, the image has the clients %q", postgres.Image, majors)
	}
	// The commands in the file's comments.
	told := regexp.MustCompile(`(?m)docker compose --file \S+ exec (\S+) pgcourier (.*)$`).FindAllStringSubmatch(readRoot(t, "deploy/compose/compose.yaml"), -1)
	if len(told) == 0 {
		t.Error("the file does not say how to ask for an export")
	}
	for _, m := range told {
		if _, ok := p.Services[m[1]]; !ok {
			t.Errorf("%s: no such service", m[0])
		}
		accepts(t, m[0], strings.Fields(m[2]))
	}
}

func TestTheComposeFilesBrokerKeepsWhatItAcknowledges(t *testing.T) {
	t.Parallel()
	nats := compose(t).Services["nats"]
	var conf, store string
	for _, v := range nats.Volumes {
		if v.Type == types.VolumeTypeBind {
			if !slices.Contains(nats.Command, v.Target) {
				t.Errorf("the broker is started with %q, mounted is %s", nats.Command, v.Target)
			}
			conf = v.Source
		} else {
			store = v.Target
		}
	}
	o, err := server.ProcessConfigFile(conf)
	if err != nil {
		t.Fatalf("the broker's own parser: %v", err)
	}
	if !o.JetStream || !o.SyncAlways || o.StoreDir != store {
		t.Errorf("JetStream %t, sync always %t, store %s on volume %s", o.JetStream, o.SyncAlways, o.StoreDir, store)
	}
	if u := fmt.Sprintf("http://%s:%d/healthz", o.HTTPHost, o.HTTPPort); !strings.Contains(strings.Join(nats.HealthCheck.Test, " "), u) {
		t.Errorf("the health check asks %q, the broker answers at %s", nats.HealthCheck.Test, u)
	}
}

func TestTheComposeFilesPlatformHasItsProjects(t *testing.T) {
	t.Parallel()
	database := fmt.Sprintf("compose_%d", databases.Add(1))
	if err := executeIn(t.Context(), "postgres", "CREATE DATABASE "+database); err != nil {
		t.Fatal(err)
	}
	if err := executeIn(t.Context(), database, readRoot(t, "deploy/compose/platform.sql")); err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), cluster.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	c, err := config.Load(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	projects := project.New(pool, c.ProjectQuery)
	if err := projects.Check(t.Context()); err != nil {
		t.Error(err)
	}
	acme, err := projects.Lookup(t.Context(), "acme")
	if err != nil || !slices.Equal(acme.Schemas, []string{"tenant_acme"}) {
		t.Errorf("acme is %+v (%v)", acme, err)
	}
	_, err = projects.Lookup(t.Context(), "dormant")
	if f, ok := errors.AsType[*export.Fault](err); !ok || f.Code != codes.ProjectNotFound {
		t.Errorf("the suspended project: %v", err)
	}
}
