package handover_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/s3test"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/handover"
)

func body(t *testing.T, r *http.Response) []byte {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err = errors.Join(err, r.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestALinkShowsAPageAndGivesTheFileByPost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	data := random(t, 700_000)
	id := b.export("r1", `{}`, data)
	_, url := b.issue(id, 1)
	for range 3 { // a preview does not count as a download
		r := b.call("GET", url)
		page := string(body(t, r))
		if r.StatusCode != http.StatusOK || !strings.Contains(page, "r1.1.sql.gz") || !strings.Contains(page, "<form method=\"post\">") || strings.Contains(page, "<script") {
			t.Fatalf("page %d: %s", r.StatusCode, page)
		}
		style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(page)[1]
		sum := sha256.Sum256([]byte(style))
		csp := r.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") || !strings.Contains(csp, "default-src 'none'") {
			t.Errorf("the policy %s does not allow the page's style", csp)
		}
	}
	if r := b.call("HEAD", url, "Accept", "application/octet-stream"); r.StatusCode != http.StatusOK || r.ContentLength != int64(len(data)) {
		t.Errorf("HEAD: %d, %d bytes", r.StatusCode, r.ContentLength)
	}
	r := b.call("POST", url)
	sum := sha256.Sum256(data)
	text := base64.StdEncoding.EncodeToString(sum[:])
	for name, want := range map[string]string{
		"Content-Type": "application/gzip", "Content-Disposition": `attachment; filename="r1.1.sql.gz"`, "Content-Length": strconv.Itoa(len(data)),
		"Repr-Digest": "sha-256=:" + text + ":", "Digest": "SHA-256=" + text, "Cache-Control": "private, no-store", "Referrer-Policy": "no-referrer",
		"X-Content-Type-Options": "nosniff", "Accept-Ranges": "bytes",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := body(t, r); r.StatusCode != http.StatusOK || !bytes.Equal(got, data) {
		t.Errorf("status %d, %d bytes", r.StatusCode, len(got))
	}
	if r := b.call("POST", url); r.StatusCode != http.StatusNotFound {
		t.Errorf("a link for one use gave %d", r.StatusCode)
	}
}

// The page shows the link of the receipt also after the download that used the link up: a receipt does not count.
func TestAUsedLinkStillGivesTheReceipt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.export("r1", `{}`, random(t, 1000))
	link, url := b.issue(id, 1)
	page := string(body(t, b.call("GET", url)))
	path := regexp.MustCompile(`href="([^"]+/receipt)"`).FindStringSubmatch(page)
	if path == nil {
		t.Fatalf("the page has no receipt: %s", page)
	}
	receipt := url[:strings.LastIndex(url, "/")+1] + path[1]
	gives := func(when string, status int) {
		t.Helper()
		r := b.call("GET", receipt)
		if got := body(t, r); r.StatusCode != status || strings.Contains(string(got), "payloadType") != (status == http.StatusOK) {
			t.Errorf("%s: %d %s", when, r.StatusCode, got)
		}
	}
	gives("before", http.StatusOK)
	if r := b.call("POST", url); r.StatusCode != http.StatusOK || len(body(t, r)) != 1000 {
		t.Fatalf("the download: %d", r.StatusCode)
	}
	gives("used up", http.StatusOK)
	for _, method := range []string{"GET", "POST"} {
		if r := b.call(method, url); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s of a used link: %d", method, r.StatusCode)
		}
	}
	if _, err := b.links.Revoke(t.Context(), "acme", link.ID, "ann"); err != nil {
		t.Fatal(err)
	}
	gives("revoked", http.StatusNotFound)
	_, url = b.issue(id, 1)
	receipt = url + "/receipt"
	body(t, b.call("POST", url))
	gives("another", http.StatusOK)
	b.exec(`UPDATE pgcourier.links SET expires_at = issued_at`)
	gives("expired", http.StatusNotFound)
}

// Every link that opens nothing gets the same answer, in everything that a client can see.
func TestEveryInvalidTokenGetsTheSameAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.export("r1", `{}`, random(t, 1000))
	_, good := b.issue(id, 0)
	_, expired := b.issue(id, 0)
	revoked, revokedURL := b.issue(id, 0)
	_, used := b.issue(id, 1)
	gone := b.export("r2", `{}`, random(t, 1000))
	_, goneURL := b.issue(gone, 0)
	other := b.export("r3", `{}`, random(t, 1000))
	_, otherURL := b.issue(other, 0)
	b.exec(`UPDATE pgcourier.links SET expires_at = issued_at WHERE link_id = 'lnk_' || $1`, expired[strings.LastIndex(expired, "/")+1:][:26])
	if _, err := b.links.Revoke(t.Context(), "acme", revoked.ID, "ann"); err != nil {
		t.Fatal(err)
	}
	body(t, b.call("POST", used))
	b.exec(`UPDATE pgcourier.requests SET removed_at = clock_timestamp() WHERE request_id = 'r2'`)
	base, token := good[:strings.LastIndex(good, "/")+1], good[strings.LastIndex(good, "/")+1:]
	flip := func(i int) string {
		c := byte('b')
		if token[i] == c {
			c = 'c'
		}
		return base + token[:i] + string(c) + token[i+1:]
	}
	want := b.call("POST", base+"x")
	wantBody, wantHeader := body(t, want), want.Header
	if want.StatusCode != http.StatusNotFound {
		t.Fatalf("nonsense gave %d", want.StatusCode)
	}
	wantHeader.Del("Date")
	for name, url := range map[string]string{
		"expired": expired, "revoked": revokedURL, "used up": used, "deleted": goneURL, "another id": flip(3), "another sum": flip(40),
		"a sum of another link": base + token[:27] + otherURL[strings.LastIndex(otherURL, ".")+1:], "cut": good[:len(good)-1], "longer": good + "A",
		"empty": base, "a path": base + "../" + token, "encoded": base + "%2e%2e%2f" + token, "NUL": base + token[:26] + "%00" + token[27:],
	} {
		for _, method := range []string{"POST", "GET"} {
			r := b.call(method, url, "Accept", "text/html")
			got := body(t, r)
			r.Header.Del("Date")
			if r.StatusCode != http.StatusNotFound || !bytes.Equal(got, wantBody) || !maps.EqualFunc(r.Header, wantHeader, func(a, b []string) bool { return strings.Join(a, ",") == strings.Join(b, ",") }) {
				t.Errorf("%s %s: %d, %v, %s", method, name, r.StatusCode, r.Header, got)
			}
		}
	}
	if r := b.call("POST", good); r.StatusCode != http.StatusOK {
		t.Errorf("the good one gave %d", r.StatusCode)
	}
	if r := b.call("DELETE", good); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("DELETE gave %d", r.StatusCode)
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	b := setup(t)
	data := random(t, 1000)
	_, url := b.issue(b.export("r1", `{}`, data), 0)
	sum := sha256.Sum256(data)
	etag := fmt.Sprintf(`"%x"`, sum)
	for spec, want := range map[string]struct {
		status   int
		from, to int
	}{
		"bytes=0-":                    {206, 0, 1000},
		"bytes=10-19":                 {206, 10, 20},
		"bytes=999-":                  {206, 999, 1000},
		"bytes=990-5000":              {206, 990, 1000},
		"bytes=-10":                   {206, 990, 1000},
		"bytes=-5000":                 {206, 0, 1000},
		"bytes=1000-":                 {416, 0, 0},
		"bytes=-0":                    {416, 0, 0},
		"bytes=99999999999999999999-": {416, 0, 0},
		"bytes=20-10":                 {200, 0, 1000},
		"bytes=0-1,5-6":               {200, 0, 1000},
		"bytes=a-":                    {200, 0, 1000},
		"bytes=--5":                   {200, 0, 1000},
		"bytes=":                      {200, 0, 1000},
		"bytes=-":                     {200, 0, 1000},
		"chunks=1-2":                  {200, 0, 1000},
	} {
		r := b.call("GET", url, "Accept", "application/octet-stream", "Range", spec)
		got := body(t, r)
		if r.StatusCode != want.status || want.status != 416 && !bytes.Equal(got, data[want.from:want.to]) {
			t.Errorf("%s: %d, %d bytes", spec, r.StatusCode, len(got))
		}
		if at := r.Header.Get("Content-Range"); want.status == 206 && at != fmt.Sprintf("bytes %d-%d/1000", want.from, want.to-1) || want.status == 416 && at != "bytes */1000" {
			t.Errorf("%s: Content-Range %q", spec, at)
		}
		if want.status != 416 && r.Header.Get("Etag") != etag {
			t.Errorf("%s: Etag %s", spec, r.Header.Get("Etag"))
		}
	}
	for condition, status := range map[string]int{etag: 206, `"other"`: 200, "Wed, 21 Oct 2026 07:28:00 GMT": 200} {
		if r := b.call("POST", url, "Range", "bytes=5-", "If-Range", condition); r.StatusCode != status {
			t.Errorf("If-Range %s: %d, want %d", condition, r.StatusCode, status)
		}
	}
}

func TestAResumedTransferCountsOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	data := random(t, 3<<20)
	id := b.export("r1", `{}`, data)
	link, url := b.issue(id, 1)
	r := b.call("POST", url, "User-Agent", "curl")
	first := make([]byte, 1<<20)
	if _, err := io.ReadFull(r.Body, first); err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close() // in the middle
	// Another client cannot resume it.
	if r := b.call("POST", url, "User-Agent", "other", "Range", "bytes=1048576-"); r.StatusCode != http.StatusNotFound {
		t.Errorf("another client resumed: %d", r.StatusCode)
	}
	r = b.call("POST", url, "User-Agent", "curl", "Range", fmt.Sprintf("bytes=%d-", len(first)))
	rest := body(t, r)
	if r.StatusCode != http.StatusPartialContent || !bytes.Equal(slices.Concat(first, rest), data) {
		t.Fatalf("resumed: %d, %d bytes", r.StatusCode, len(rest))
	}
	links, err := b.links.List(t.Context(), id)
	if err != nil || len(links) != 1 || links[0].ID != link.ID || links[0].Downloads != 1 {
		t.Errorf("links %+v, %v", links, err)
	}
	waitFor(t, "the download is over", func() bool {
		if err := b.links.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		return b.downloaded() != nil
	})
	if d := b.downloaded(); !d.Whole || d.Bytes < int64(len(data)) || d.UserAgent != "curl" || d.Address != "127.0.0.1" || d.Link != link.ID {
		t.Errorf("announced %+v", d)
	}
	if r := b.call("POST", url, "User-Agent", "curl", "Range", "bytes=0-"); r.StatusCode != http.StatusNotFound {
		t.Errorf("after the end was announced: %d", r.StatusCode)
	}
}

// The last bytes that the server sent may still be in buffers. A client that was disconnected at
// the very end can fetch them again, and no client gets more than twice the file.
func TestTheEndOfAFileCanBeFetchedAgainUpToALimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	data := random(t, 1000)
	_, url := b.issue(b.export("r1", `{}`, data), 1)
	body(t, b.call("POST", url))
	if r := b.call("POST", url, "Range", "bytes=500-"); r.StatusCode != http.StatusPartialContent || !bytes.Equal(body(t, r), data[500:]) {
		t.Errorf("the end: %d", r.StatusCode)
	}
	// The download is recorded after the client has it.
	waitFor(t, "no more is sent", func() bool {
		r := b.call("POST", url, "Range", "bytes=0-")
		body(t, r)
		return r.StatusCode == http.StatusNotFound
	})
}

// waitFor waits until the server has recorded what its client has received.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (b *bench) downloaded() *handover.Downloaded {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.changes {
		if c.Download != nil {
			return c.Download
		}
	}
	return nil
}

func TestOfSeveralClientsOneGetsTheLastUse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	data := random(t, 10_000)
	_, url := b.issue(b.export("r1", `{}`, data), 3)
	var got, refused atomic.Int32
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			r := b.call("POST", url, "User-Agent", fmt.Sprint("client ", i))
			all, err := io.ReadAll(r.Body)
			_ = r.Body.Close()
			switch {
			case r.StatusCode == http.StatusOK && err == nil && bytes.Equal(all, data):
				got.Add(1)
			case r.StatusCode == http.StatusNotFound:
				refused.Add(1)
			default:
				t.Errorf("%d, %d bytes, %v", r.StatusCode, len(all), err)
			}
		})
	}
	wg.Wait()
	if got.Load() != 3 || refused.Load() != 21 {
		t.Errorf("%d got it, %d were refused", got.Load(), refused.Load())
	}
}

// A damaged file never ends without an error, and a missing file has an answer of its own.
func TestAStorageThatFailsCutsTheConnection(t *testing.T) {
	t.Parallel()
	b := setup(t)
	data := random(t, 2<<20)
	_, url := b.issue(b.export("r1", `{}`, data), 0)
	file := filepath.Join(b.storage, "acme", "r1.1.sql.gz")
	for name, change := range map[string]func([]byte) []byte{
		"a flipped bit at the end": func(d []byte) []byte { d[len(d)-1] ^= 1; return d },
		"a flipped bit":            func(d []byte) []byte { d[100] ^= 1; return d },
		"cut":                      func(d []byte) []byte { return d[:len(d)/2] },
		"longer":                   func(d []byte) []byte { return append(d, 1) },
	} {
		if err := os.WriteFile(file, change(bytes.Clone(data)), 0o600); err != nil {
			t.Fatal(err)
		}
		r := b.call("POST", url)
		got, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err == nil || len(got) >= len(data) {
			t.Errorf("%s: %d of %d bytes, %v", name, len(got), len(data), err)
		}
	}
	if err := os.Remove(file + ".manifest.json"); err != nil {
		t.Fatal(err)
	}
	if r := b.call("POST", url); r.StatusCode != http.StatusNotFound {
		t.Errorf("deleted: %d", r.StatusCode)
	}
}

func TestAClientThatTakesNothingIsCut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.serve(2 * time.Second)
	_, url := b.issue(b.export("r1", `{}`, random(t, 32<<20)), 0)
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", strings.TrimPrefix(url, b.server.URL)); err != nil {
		t.Fatal(err)
	}
	// It reads nothing. The server records what it could send, and closes the connection.
	waitFor(t, "the transfer is cut", func() bool {
		var bytes int64
		if err := b.pool.QueryRow(t.Context(), "SELECT coalesce(max(bytes), 0) FROM pgcourier.downloads").Scan(&bytes); err != nil {
			t.Fatal(err)
		}
		return bytes > 0
	})
	if n, err := io.Copy(io.Discard, conn); err == nil && n >= 32<<20 {
		t.Errorf("the slow client got %d bytes", n)
	}
}

func TestS3ServesLinksWithoutACountByItself(t *testing.T) {
	t.Parallel()
	server, err := s3test.Start("exports")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	b := setup(t, server.Storage("exports"))
	data := random(t, 100_000)
	id := b.export("r1", `{}`, data)
	_, counted := b.issue(id, 1)
	if r := b.call("POST", counted); r.StatusCode != http.StatusOK || !bytes.Equal(body(t, r), data) {
		t.Errorf("with a count: %d", r.StatusCode)
	}
	_, url := b.issue(id, 0)
	r := b.call("POST", url)
	at := r.Header.Get("Location")
	if r.StatusCode != http.StatusSeeOther || !strings.HasPrefix(at, server.URL()) {
		t.Fatalf("without a count: %d to %s", r.StatusCode, at)
	}
	if csp := b.call("GET", url).Header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' "+server.URL()+";") {
		t.Errorf("the page's policy forbids the redirect: %s", csp)
	}
	if r := b.call("GET", at); r.StatusCode != http.StatusOK || !bytes.Equal(body(t, r), data) {
		t.Errorf("from the storage: %d", r.StatusCode)
	}
	b.transferred(map[handover.Transfer]int{{ByLink: true, Result: handover.TransferSent, Bytes: 100_000}: 1, {ByLink: true, Result: handover.TransferRedirected}: 1})
	if err := b.links.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	redirected := false
	for _, c := range b.changes {
		redirected = redirected || c.Download != nil && c.Download.Redirected
	}
	if !redirected {
		t.Errorf("announced %+v", b.changes)
	}
}

func TestAFileByTheAPI(t *testing.T) {
	t.Parallel()
	b := setup(t)
	data := random(t, 1000)
	id := b.export("r1", `{}`, data)
	b.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := b.handler.ServeFile(w, r, export.ID{Project: "acme", Request: strings.TrimPrefix(r.URL.Path, "/")}, "portal"); err != nil {
			http.Error(w, err.Error(), http.StatusTeapot)
		}
	})
	if r := b.call("GET", b.server.URL+"/"+id.Request, "Range", "bytes=100-"); r.StatusCode != http.StatusPartialContent || !bytes.Equal(body(t, r), data[100:]) {
		t.Errorf("%d", r.StatusCode)
	}
	if r := b.call("GET", b.server.URL+"/none"); r.StatusCode != http.StatusTeapot {
		t.Errorf("none: %d", r.StatusCode)
	}
	b.transferred(map[handover.Transfer]int{{Result: handover.TransferSent, Bytes: 900}: 1})
}

// transferred waits until exactly these transfers were observed.
func (b *bench) transferred(want map[handover.Transfer]int) {
	b.t.Helper()
	waitFor(b.t, fmt.Sprintf("the transfers %v", want), func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return maps.Equal(b.transfers, want)
	})
}

// A page, a HEAD and a refusal are no transfers.
func TestEachTransferIsObserved(t *testing.T) {
	t.Parallel()
	b := setup(t)
	data := random(t, 1<<20)
	_, url := b.issue(b.export("r1", `{}`, data), 2)
	b.call("GET", url)
	b.call("HEAD", url)
	body(t, b.call("POST", url))
	body(t, b.call("POST", url, "Range", fmt.Sprintf("bytes=%d-", len(data)-1000)))
	if err := os.WriteFile(filepath.Join(b.storage, "acme", "r1.1.sql.gz"), data[:512<<10], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(b.call("POST", url).Body); err == nil {
		t.Error("a file that was cut came to a good end")
	}
	if r := b.call("POST", url, "User-Agent", "another"); r.StatusCode != http.StatusNotFound {
		t.Errorf("a link that is used up: %d", r.StatusCode)
	}
	b.transferred(map[handover.Transfer]int{
		{ByLink: true, Result: handover.TransferSent, Bytes: 1 << 20}:  1,
		{ByLink: true, Result: handover.TransferSent, Bytes: 1000}:     1,
		{ByLink: true, Result: handover.TransferCut, Bytes: 512 << 10}: 1,
	})
}
