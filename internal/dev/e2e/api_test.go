package e2e_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
)

// apiServer is a running `pgcourier serve --roles api` with tokens.
type apiServer struct {
	*worker
	p   *platform
	url string
}

// startAPI starts one, beside whatever workers there are.
func (p *platform) startAPI(settings ...string) *apiServer {
	p.t.Helper()
	addr := freeAddress(p.t)
	w := p.start(append([]string{"ROLES=api", "API_ADDR=" + addr}, settings...)...)
	w.awaitLog("HTTP API listens")
	return &apiServer{w, p, "http://" + addr}
}

// token makes a token by the command.
func (p *platform) token(project, scopes string) string {
	p.t.Helper()
	stdout, stderr, code := p.cli("token", "create", "--project", project, "--scope", scopes)
	if code != 0 {
		p.t.Fatalf("token create: %d, %s", code, stderr)
	}
	return strings.TrimSpace(stdout)
}

// shownExport is what a caller sees of an export.
type shownExport struct {
	Project string         `json:"project_id"`
	ID      string         `json:"request_id"`
	State   string         `json:"state"`
	Code    codes.Code     `json:"code"`
	Percent int            `json:"percent"`
	Removed string         `json:"removed_at"`
	Outcome map[string]any `json:"outcome"`
}

// call makes a call and returns its status and, of a success, the export in it.
func (s *apiServer) call(method, path, token, body string, header ...string) (int, shownExport, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.p.ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	var e shownExport
	_ = json.Unmarshal(b, &e) // the caller decodes what is not an export
	return res.StatusCode, e, string(b)
}

// follow reads the types of an export's events until the stream ends.
func (s *apiServer) follow(path, token string) (kinds []string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.p.t.Context(), http.MethodGet, s.url+path+"/events", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if kind, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			kinds = append(kinds, kind)
			if kind == "backup.completed" {
				return kinds
			}
		}
	}
	return kinds
}

// The API and a worker are separate processes.
func TestTheAPIAsksCancelsReplaysAndDeletes(t *testing.T) {
	t.Parallel()
	p := setup(t)
	s := p.startAPI()
	tok := p.token("acme", "export,read,operate")
	const at = "/v1/projects/acme/exports"

	// The request waits until a worker runs.
	status, e, text := s.call("POST", at, tok, `{"compression":"none"}`, "Idempotency-Key", "one")
	if status != http.StatusAccepted || e.State != "waiting" {
		t.Fatalf("%d %s", status, text)
	}
	p.outcomes++
	p.start()
	if kinds := fmt.Sprint(s.follow(at+"/one", tok)); !strings.Contains(kinds, "backup.started") || !strings.Contains(kinds, "backup.completed") {
		t.Errorf("followed %s", kinds)
	}
	if status, e, text = s.call("GET", at+"/one", tok, ""); status != http.StatusOK || e.State != "completed" || e.Percent != 100 || e.Outcome["request_id"] != "one" {
		t.Errorf("%d %s", status, text)
	}
	p.completed("acme", "one")

	// A failed request is replayed under an id of its chain.
	if status, _, text = s.call("POST", at, tok, `{"schemas":["tenant_globex"]}`, "Idempotency-Key", "bad"); status != http.StatusAccepted {
		t.Errorf("%d %s", status, text)
	}
	p.outcomes++
	p.failed("acme", "bad", codes.SchemaNotAllowed, 1)
	if status, e, text = s.call("POST", at+"/bad/replay", tok, ""); status != http.StatusAccepted || e.ID != "bad-r1" {
		t.Errorf("%d %s", status, text)
	}
	p.outcomes++
	p.failed("acme", "bad-r1", codes.SchemaNotAllowed, 1)
	if status, _, text = s.call("POST", at+"/one/replay", tok, ""); status != http.StatusConflict {
		t.Errorf("replay of a completed one: %d %s", status, text)
	}
	if status, _, text = s.call("POST", at+"/one/cancel", tok, ""); status != http.StatusConflict {
		t.Errorf("cancel of a completed one: %d %s", status, text)
	}
	if status, _, text = s.call("POST", at+"/none/cancel", tok, ""); status != http.StatusNotFound {
		t.Errorf("cancel of an unknown one: %d %s", status, text)
	}

	// The sweeper deletes it, from the storage too. One that starts now sweeps at once.
	if status, _, text = s.call("DELETE", at+"/one", tok, ""); status != http.StatusAccepted {
		t.Errorf("%d %s", status, text)
	}
	p.start("ROLES=sweeper")
	eventually(t, "the export is deleted", func() bool {
		_, e, _ := s.call("GET", at+"/one", tok, "")
		return e.Removed != ""
	})
	if left := p.stored(); len(left) != 0 {
		t.Errorf("left in the storage: %q", left)
	}
	if strings.Contains(s.logs.String(), "pgc_") {
		t.Error("the log holds a token")
	}
}

func TestTheAPICancelsInMidDump(t *testing.T) {
	t.Parallel()
	p := setup(t)
	s := p.startAPI()
	p.start("PG_BIN_DIR=" + fakePgDump(t, `[ "$1" = --version ] && exec "$real" "$@"; sleep 600`))
	tok := p.token("acme", "export,read")
	const at = "/v1/projects/acme/exports"
	if status, _, text := s.call("POST", at, tok, "", "Idempotency-Key", "long"); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, text)
	}
	p.outcomes++
	eventually(t, "it runs", func() bool { _, e, _ := s.call("GET", at+"/long", tok, ""); return e.State == "running" })
	if status, _, text := s.call("POST", at+"/long/cancel", tok, ""); status != http.StatusAccepted {
		t.Errorf("%d %s", status, text)
	}
	p.failed("acme", "long", codes.Cancelled, 1)
	eventually(t, "it is cancelled", func() bool { _, e, _ := s.call("GET", at+"/long", tok, ""); return e.State == "cancelled" })
}

// The customer fetches the file by the API, and by a link.
func TestTheAPIHandsExportsOver(t *testing.T) {
	t.Parallel()
	p := setup(t)
	metrics := freeAddress(t)
	s := p.startAPI("PUBLIC_URL=http://backups.example.org", "HTTP_ADDR="+metrics)
	p.start()
	ready(t, metrics)
	tok := p.token("acme", "export,read,download")
	const at = "/v1/projects/acme/exports"
	if status, _, text := s.call("POST", at, tok, "", "Idempotency-Key", "one"); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, text)
	}
	p.outcomes++
	done := p.completed("acme", "one")
	eventually(t, "the ledger has it", func() bool { _, e, _ := s.call("GET", at+"/one", tok, ""); return e.State == "completed" })
	sum := func(b string) string { h := sha256.Sum256([]byte(b)); return hex.EncodeToString(h[:]) }
	if status, _, body := s.call("GET", at+"/one/file", tok, ""); status != http.StatusOK || sum(body) != done.SHA256 {
		t.Errorf("the file: %d, %d bytes", status, len(body))
	}
	if status, _, body := s.call("GET", at+"/one/file", tok, "", "Range", "bytes=10-"); status != http.StatusPartialContent || int64(len(body)) != done.StoredBytes-10 {
		t.Errorf("a part of it: %d, %d bytes", status, len(body))
	}
	if status, _, text := s.call("GET", at+"/none/file", tok, ""); status != http.StatusNotFound {
		t.Errorf("the file of no export: %d %s", status, text)
	}
	if status, _, text := s.call("GET", at+"/one/receipt", tok, ""); status != http.StatusOK || !strings.Contains(text, "payloadType") {
		t.Errorf("the receipt: %d %s", status, text)
	}
	if status, _, text := s.call("GET", at+"/one/receipt?of=verification", tok, ""); status != http.StatusNotFound {
		t.Errorf("the receipt of no verification: %d %s", status, text)
	}
	status, _, text := s.call("POST", at+"/one/links", tok, `{"ttl":"1h","max_downloads":1}`)
	var link struct {
		ID    string `json:"link_id"`
		URL   string
		State string
	}
	if err := json.Unmarshal([]byte(text), &link); err != nil || status != http.StatusCreated || link.State != "valid" {
		t.Fatalf("%d %s", status, text)
	}
	path, ok := strings.CutPrefix(link.URL, "http://backups.example.org")
	if !ok {
		t.Errorf("the link is %s", link.URL)
	}
	if status, _, body := s.call("POST", path, "", ""); status != http.StatusOK || sum(body) != done.SHA256 {
		t.Errorf("by the link: %d, %d bytes", status, len(body))
	}
	if status, _, text := s.call("DELETE", at+"/one/links/"+link.ID, tok, ""); status != http.StatusOK || !strings.Contains(text, "revoked_at") || strings.Contains(text, path) {
		t.Errorf("revoked: %d %s", status, text)
	}
	if status, _, text := s.call("GET", at+"/one/links", tok, ""); status != http.StatusOK || strings.Contains(text, path) || !strings.Contains(text, `"state":"revoked"`) {
		t.Errorf("listed: %d %s", status, text)
	}
	if strings.Contains(s.logs.String(), path) {
		t.Error("the log holds a link")
	}
	for _, want := range []string{
		`pgcourier_api_calls_total{code="202",route="POST /v1/projects/{project}/exports"} 1`, `pgcourier_api_calls_total{code="206",route="GET /v1/projects/{project}/exports/{id}/file"} 1`,
		`pgcourier_downloads_total{by="caller",result="sent"} 2`, `pgcourier_downloads_total{by="link",result="sent"} 1`,
		fmt.Sprintf(`pgcourier_download_bytes_total{by="caller"} %d`, 2*done.StoredBytes-10), fmt.Sprintf(`pgcourier_download_bytes_total{by="link"} %d`, done.StoredBytes),
	} {
		eventually(t, want, func() bool {
			_, page := get(t, "http://"+metrics+"/metrics")
			return strings.Contains(page, want+"\n")
		})
	}
	for _, bad := range []string{`{"ttl":"1s"}`, `{"ttl":"x"}`, `{"max_downloads":0}`, `{"unknown":1}`, `{"notify_email":"x"}`} {
		if status, _, text := s.call("POST", at+"/one/links", tok, bad); status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", bad, status, text)
		}
	}
}
