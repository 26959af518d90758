package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The server's OpenAPI document is enough to generate clients in Go and TypeScript. They run
// against the same server, and so do the curl commands of docs/api.md.
func TestTheOpenAPIDocumentIsTheClientForOtherLanguages(t *testing.T) {
	t.Parallel()
	p := setup(t)
	s := p.startAPI("PUBLIC_URL=http://backups.example.org")
	p.start()
	status, _, document := s.call(http.MethodGet, "/v1/openapi.json", "", "")
	if status != http.StatusOK {
		t.Fatalf("the document: %d %s", status, document)
	}
	// t.Run returns when the clients have ended, before the platform's clean-up.
	t.Run("clients", func(t *testing.T) {
		t.Run("Go", func(t *testing.T) {
			t.Parallel()
			folder := copyExample(t, "api-go", document)
			execute(t, folder, nil, "go", "tool", "oapi-codegen", "-config", "oapi-codegen.yaml", "openapi.json")
			execute(t, folder, nil, "go", "build", "-o", "client", ".")
			s.checkClient(t, "globex", folder, "./client")
		})
		t.Run("TypeScript", func(t *testing.T) {
			t.Parallel()
			folder := copyExample(t, "api-typescript", document)
			installTypeScript(t, folder)
			execute(t, folder, nil, "npm", "run", "--silent", "generate")
			execute(t, folder, nil, "npm", "run", "--silent", "build") // checks the types
			s.checkClient(t, "quoted", folder, "node", "build/client.js")
		})
		t.Run("curl", func(t *testing.T) {
			t.Parallel()
			s.checkCommands(t)
		})
	})
	p.outcomes = 2*2 + 1 // two of each program, one of the commands
}

// copyExample copies an example beside a document.
func copyExample(t *testing.T, name, document string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), name)
	from := filepath.Join(root, "docs", "examples", name)
	files, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.IsDir() { // what npm has installed there
			continue
		}
		b, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, f.Name()), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "openapi.json"), []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// installTypeScript uses the modules that `make api-clients` installed for this lock file, or
// installs them.
func installTypeScript(t *testing.T, folder string) {
	t.Helper()
	lock, err := os.ReadFile(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	built, err := filepath.Abs(filepath.Join(root, "build", "api-typescript"))
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadFile(filepath.Join(built, "installed.json")); err == nil && bytes.Equal(kept, lock) {
		if err := os.Symlink(filepath.Join(built, "node_modules"), filepath.Join(folder, "node_modules")); err != nil {
			t.Fatal(err)
		}
		return
	}
	execute(t, folder, nil, "npm", "ci", "--prefer-offline", "--no-audit", "--no-fund")
}

// execute runs a program, which must succeed, and returns what it printed.
func execute(t *testing.T, folder string, environ []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), environ...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s%s", args, err, out.String(), errs.String())
	}
	return out.String()
}

// checkClient runs a client twice, so that the second run lists pages, and checks its output.
func (s *apiServer) checkClient(t *testing.T, project, folder string, command ...string) {
	t.Helper()
	token := s.p.token(project, "export,read,download")
	file := filepath.Join(folder, "export")
	var ids []string
	for range 2 {
		text := execute(t, folder, []string{"API=" + s.url, "TOKEN=" + token}, slices.Concat(command, []string{project, file})...)
		var got struct {
			Subject   string
			RequestID string `json:"request_id"`
			State     string
			Listed    []string
			Link      string
			Bytes     int64
			Problem   string
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("printed %s: %v", text, err)
		}
		ids = slices.Insert(ids, 0, got.RequestID) // the newest is listed first
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		outcome := s.p.completed(project, got.RequestID)
		sum := sha256.Sum256(b)
		if hex.EncodeToString(sum[:]) != outcome.SHA256 || got.Bytes != outcome.StoredBytes || outcome.Metadata["ticket"] != "OPS-42" || outcome.Compression != "zstd" {
			t.Errorf("printed %s, the outcome is %+v", text, outcome)
		}
		if !strings.HasPrefix(got.Subject, "token:") || got.State != "completed" || got.Problem != "not_found" ||
			!strings.HasPrefix(got.Link, "http://backups.example.org/d/") || !slices.Equal(got.Listed, ids) {
			t.Errorf("printed %s, want the exports %q", text, ids)
		}
	}
}

// documentedAddress is the server's address in docs/api.md.
const documentedAddress = "http://127.0.0.1:8080"

// checkCommands runs the commands of docs/api.md unchanged, in one shell.
func (s *apiServer) checkCommands(t *testing.T) {
	t.Helper()
	blocks := shellBlocks(readRoot(t, "docs/api.md"))
	const marker = "printf '\\n=== %s\\n' "
	script := strings.Join(append([]string{"set -euo pipefail\n"}, blocks...), marker+"block\n")
	if !strings.Contains(script, documentedAddress) {
		t.Fatalf("docs/api.md does not name %s", documentedAddress)
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "commands.sh")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(script, documentedAddress, s.url)), 0o600); err != nil {
		t.Fatal(err)
	}
	printed := strings.Split(execute(t, folder, s.p.environ(), "bash", file), "\n=== block\n")[1:]
	// Each block prints what the document shows.
	want := []string{
		``, `"scopes":\["download","export","operate","read"\]`, `"request_id":"friday".*"state":"(waiting|running|completed)"`, `"state":"completed"`,
		`"exports":\[\{.*"request_id":"friday"`, `"url":"http://backups\.example\.org/d/`, `acme\.sql\.zst: OK`, `"payloadType"`, `"code":"not_found"`,
		`"cron":"0 0 3 \* \* \*".*"next":\["`, `"request_id":"friday"`,
	}
	if len(printed) != len(want) {
		t.Fatalf("docs/api.md has %d blocks of commands, want %d", len(printed), len(want))
	}
	for i, pattern := range want {
		if !regexp.MustCompile(`(?s)` + pattern).MatchString(printed[i]) {
			t.Errorf("the commands\n%sprinted %s, want %s", blocks[i], printed[i], pattern)
		}
	}
	token := s.p.token("acme", "read")
	eventually(t, "the export of the commands is deleted", func() bool {
		_, e, _ := s.call(http.MethodGet, "/v1/projects/acme/exports/friday", token, "")
		return e.Removed != ""
	})
}
