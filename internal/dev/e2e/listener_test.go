package e2e_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
)

// A download that runs when the process begins to stop is completed. The next process announces it.
func TestADownloadFinishesWhileItsProcessDrains(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.tenants("large")
	// More than the buffers of a connection hold: 48 MB.
	p.exec("CREATE TABLE tenant_large.big AS SELECT repeat(md5(n::text), 1000) AS v FROM generate_series(1, 1500) n")
	p.start()
	p.request(events.Requested{ProjectID: "large", RequestID: "r1", Compression: events.CompressionNone})
	c := p.completed("large", "r1")
	s := p.startAPI("PUBLIC_URL=http://backups.example.org")
	tok := p.token("large", "download")
	req, err := http.NewRequestWithContext(p.ctx, http.MethodGet, s.url+"/v1/projects/large/exports/r1/file", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+tok)
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	sum := sha256.New()
	if _, err := io.CopyN(sum, res.Body, 64<<10); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", res.Status, err)
	}
	s.term()
	eventually(t, "it takes no more calls", func() bool { return !answers(strings.TrimPrefix(s.url, "http://")) })
	if s.ended() {
		t.Error("the process ended before the download")
	}
	n, err := io.Copy(sum, res.Body)
	if err != nil || n+64<<10 != c.StoredBytes || hex.EncodeToString(sum.Sum(nil)) != c.SHA256 {
		t.Errorf("%d of %d bytes, %v", n+64<<10, c.StoredBytes, err)
	}
	s.await()
	p.startAPI("PUBLIC_URL=http://backups.example.org")
	if d := p.event(events.TypeDownloaded, "large", "r1").Downloaded; !d.Whole || d.Bytes != c.StoredBytes || !strings.HasPrefix(d.DownloadedBy, "token:") {
		t.Errorf("downloaded %+v", d)
	}
}

func TestTheAPISpeaksTLS(t *testing.T) {
	t.Parallel()
	p := setup(t)
	cert, key := selfSigned(t, t.TempDir())
	p.start()
	c := p.completed("acme", p.request(events.Requested{ProjectID: "acme", RequestID: "r1"}))
	s := p.startAPI("API_TLS_CERT="+cert, "API_TLS_KEY="+key, "PUBLIC_URL=https://backups.example.org")
	tok := p.token("acme", "read,download")
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	address := strings.TrimPrefix(s.url, "http://")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, h2 := range []bool{false, true} {
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: version, MaxVersion: version}, ForceAttemptHTTP2: h2}
			client := &http.Client{Transport: transport}
			req, err := http.NewRequestWithContext(p.ctx, http.MethodGet, "https://"+address+"/v1/projects/acme/exports/r1/file", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+tok)
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			transport.CloseIdleConnections()
			sum := sha256.Sum256(b)
			if err != nil || res.StatusCode != http.StatusOK || (res.ProtoMajor == 2) != h2 || hex.EncodeToString(sum[:]) != c.SHA256 {
				t.Errorf("version %x, HTTP/2 %t: %s %s, %d bytes, %v", version, h2, res.Proto, res.Status, len(b), err)
			}
		}
	}
	plain, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, s.url+"/v1/whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	plain.Header.Set("Authorization", "Bearer "+tok)
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(plain)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("without TLS: %s", res.Status)
	}
	for _, bad := range [][]string{{"API_TLS_CERT=" + cert}, {"API_TLS_CERT=" + cert, "API_TLS_KEY=" + cert}} {
		if _, stderr, code := p.cliWith(append(bad, "ROLES=api", "API_ADDR=127.0.0.1:0"), "serve"); code != 2 || !strings.Contains(stderr, "API_TLS_CERT") {
			t.Errorf("%v: exit code %d, %s", bad, code, stderr)
		}
	}
}

// withLink makes a link by the API and opens it.
func (s *apiServer) withLink(export, token string) (status int, body string) {
	s.t.Helper()
	status, _, text := s.call("POST", export+"/links", token, `{"ttl":"1h","max_downloads":1}`)
	var link struct{ URL string }
	if err := json.Unmarshal([]byte(text), &link); err != nil || status != http.StatusCreated {
		s.t.Fatalf("%d %s", status, text)
	}
	_, path, _ := strings.Cut(link.URL, "/d/")
	status, _, body = s.call("POST", "/d/"+path, "", "")
	return status, body
}
