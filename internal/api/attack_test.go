package api_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/api/access"
)

// dial connects to the API for at most a minute.
func (b *bench) dial() net.Conn {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(b.url, "http://"))
	b.must(err)
	b.must(conn.SetDeadline(time.Now().Add(time.Minute)))
	b.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// answers sends bytes and returns everything until the server closes the connection.
func (b *bench) answers(text string) string {
	b.t.Helper()
	conn := b.dial()
	_, err := io.WriteString(conn, text)
	b.must(err)
	got, err := io.ReadAll(conn)
	if err != nil && len(got) == 0 { // a reset after the answer counts as an end
		b.t.Errorf("%.200q: %v", text, err)
	}
	return string(got)
}

// If two servers disagree about the end of a body, a caller could put a call into the connection of
// another one. Such a call is refused, or it is the last one of its connection.
func TestNoCallIsSmuggledBehindAnother(t *testing.T) {
	t.Parallel()
	b := setup(t)
	head := "POST " + acme + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + b.token("acme", access.Admin) + "\r\nContent-Type: application/json\r\n"
	smuggled := "GET /v1/whoami HTTP/1.1\r\nHost: smuggled\r\n\r\n"
	inChunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled)
	for name, c := range map[string]struct{ text, want string }{
		"CL.TE":                        {"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, "202"},
		"TE.CL":                        {"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + inChunk, "422"},
		"TE.TE with identity":          {"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + smuggled, "501"},
		"TE in a list":                 {"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + smuggled, "501"},
		"TE misspelled":                {"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + smuggled, "501"},
		"TE before a tab":              {"Transfer-Encoding:\tchunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + smuggled, "202"},
		"TE with a space in its name":  {"Transfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\n{}" + smuggled, "400"},
		"TE on a folded line":          {"Transfer-Encoding:\r\n chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + smuggled, ""},
		"TE in a folded line":          {"X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}" + smuggled, ""},
		"two lengths":                  {"Content-Length: 2\r\nContent-Length: 90\r\n\r\n{}" + smuggled, "400"},
		"two lengths in one":           {"Content-Length: 2, 90\r\n\r\n{}" + smuggled, "400"},
		"a length with a sign":         {"Content-Length: +2\r\n\r\n{}" + smuggled, "400"},
		"a negative length":            {"Content-Length: -1\r\n\r\n{}" + smuggled, "400"},
		"a hexadecimal length":         {"Content-Length: 0x2\r\n\r\n{}" + smuggled, "400"},
		"a length above all":           {"Content-Length: 99999999999999999999\r\n\r\n{}" + smuggled, "400"},
		"a chunk with a signed length": {"Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n" + smuggled, "400"},
		"a chunk above all":            {"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n" + smuggled, "400"},
		"a chunk of another length":    {"Transfer-Encoding: chunked\r\n\r\n3\r\n{}\r\n0\r\n\r\n" + smuggled, "400"},
		"a line ended by CR alone":     {"X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, "400"},
		"a null byte in a name":        {"X\x00: y\r\nContent-Length: 2\r\n\r\n{}" + smuggled, "400"},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.answers(head + c.text)
			first, _, _ := strings.Cut(got, "\r\n")
			if !strings.Contains(first, c.want) || strings.Contains(first, " 50") && c.want != "501" {
				t.Errorf("answered with %q, want %s", first, c.want)
			}
			if n := strings.Count(got, "HTTP/1.1 "); n != 1 {
				t.Errorf("%d answers:\n%s", n, got)
			}
		})
	}
}

// A path has one meaning only, and names no other project than the one that the token was checked
// for.
func TestNoPathLeadsToAnotherProject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	attempt, r := b.claim("globex", "secret-export")
	b.complete(attempt, r)
	head := "Host: x\r\nConnection: close\r\nAuthorization: Bearer " + b.token("acme", access.Admin) + "\r\n\r\n"
	for _, path := range []string{
		"/v1/projects/acme/../globex/exports", "/v1/projects/acme/%2e%2e/globex/exports", "/v1/projects/acme/%2e%2e%2fglobex/exports", "/v1/projects/acme%2f..%2fglobex/exports",
		"/v1/projects/acme/exports/../../globex/exports/secret-export", "/v1/projects/acme/exports/%2e%2e/%2e%2e/globex/exports/secret-export",
		"/v1/projects/acme/exports/..%2f..%2fglobex%2fexports%2fsecret-export", "/v1/projects/acme/exports/%252e%252e/globex", "/v1/projects//globex/exports", "//v1/projects/globex/exports",
		"/v1/projects/acme//exports/secret-export", "/v1/projects/globex%00/exports", "/v1/projects/acme%00globex/exports", "/v1/projects/acme%2cglobex/exports", "/v1/projects/acme;globex/exports",
		"/v1/projects/acme%0d%0aX:%20y/exports", "/v1/projects/ACME/exports", "/v1/projects/acme%20/exports", "/v1/projects/%61cme/../globex/exports", "/v1/projects/globex/exports?project=acme",
		"/v1/projects/acme/exports/secret-export", "/v1/projects/acme/exports?project=globex", `/v1/projects/acme\..\globex/exports`, "http://x/v1/projects/globex/exports", "/v1/projects/acme/exports/*",
		"/v1/projects/*/exports", "/v1/projects/%2a/exports", "/v1/projects/acme/exports/%ff", "/v1/projects/\u0430cme/exports", "/v1/projects/acme/exports/.", "/v1/./projects/globex/exports",
	} {
		got := b.answers("GET " + path + " HTTP/1.1\r\n" + head)
		if strings.Contains(got, `"project_id"`) || strings.Contains(got, " 500 ") || strings.Contains(got, " 200 ") {
			t.Errorf("%s: %s", path, got)
		}
		at, _, _ := strings.Cut(got, "\r\n\r\n")
		if strings.Contains(at, "\r\nX: y") || strings.Contains(at, "Location: //") {
			t.Errorf("%s: the answer's headers are\n%s", path, at)
		}
	}
}

// A body without an end is refused at the limit: nothing of it is kept or read beyond that.
func TestBodiesWithoutEndAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.token("acme", access.Admin)
	chunk := "ffff\r\n" + strings.Repeat("x", 0xffff) + "\r\n"
	for _, path := range []string{"POST " + acme, "POST " + acme + "/x/links", "PUT /v1/projects/acme/schedules/s", "POST " + acme + "/x/cancel"} {
		conn := b.dial()
		sent := make(chan int, 1)
		go func() {
			n, err := io.WriteString(conn, path+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+tok+"\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
			for err == nil && n < 64<<20 {
				var m int
				m, err = io.WriteString(conn, chunk)
				n += m
			}
			sent <- n
		}()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if res.StatusCode != http.StatusRequestEntityTooLarge && res.StatusCode != http.StatusNotFound || !res.Close {
			t.Errorf("%s: %s, closed: %t", path, res.Status, res.Close)
		}
		b.must(res.Body.Close())
		b.must(conn.Close())
		if n := <-sent; n >= 64<<20 { // the capacity of the sockets
			t.Errorf("%s: %d bytes were read", path, n)
		}
	}
	for name, body := range map[string]string{
		"deep arrays":  `{"metadata":` + strings.Repeat("[", 60_000),
		"deep objects": strings.Repeat(`{"a":`, 12_000) + "1" + strings.Repeat("}", 12_000)[:5_000],
		"deep fields":  strings.Repeat(`{"metadata":`, 5_000),
	} {
		for _, path := range []string{"POST " + acme, "POST " + acme + "/x/links", "PUT /v1/projects/acme/schedules/s"} {
			method, at, _ := strings.Cut(path, " ")
			if got := b.call(method, at, tok, body, "Content-Type", "application/json"); got.status < 400 || got.status >= 500 {
				t.Errorf("%s in %s: %d %.200s", name, path, got.status, got.body)
			}
		}
	}
	if n := b.queued(); n != 0 {
		t.Errorf("%d requests are queued", n)
	}
}

// Input of a caller cannot break a line of the log, or reach a terminal as a control character.
func TestCallersWriteNoLinesIntoTheLog(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *api.Config) { c.BehindProxy = true })
	tok := b.token("acme", access.Admin)
	const red, forged = "\x1b[31m", "time=2026-01-01T00:00:00Z level=ERROR msg=forged"
	auth := "Authorization: Bearer " + tok + "\r\n"
	calls := []string{
		"GET /v1/projects/acme/exports/a%0d%0a" + strings.ReplaceAll(forged, " ", "%20") + "%1b%5b31m HTTP/1.1\r\nHost: x\r\n" + auth,
		"GET /v1/whoami?a=%0a" + strings.ReplaceAll(forged, " ", "%20") + " HTTP/1.1\r\nHost: x\r\n" + auth,
		"GET /v1/whoami HTTP/1.1\r\nHost: x" + red + "\r\n" + auth, "GET /v1/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + red + "\r\n",
		"GET /v1/whoami HTTP/1.1\r\nHost: x\r\nUser-Agent: " + red + forged + "\r\n" + auth, "GET /v1/whoami HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: " + red + "1.2.3.4\r\n" + auth,
		"GET /v1/whoami HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4 " + forged + "\r\n" + auth, "GET /v1/whoami HTTP/1.1\r\nHost: x\r\ntraceparent: " + forged + "\r\n" + auth,
		"GET /v1/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a.b." + strings.ReplaceAll(forged, " ", "%20") + "\r\n", "FORGED /v1/whoami HTTP/1.1\r\nHost: x\r\n" + auth,
		"POST " + acme + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 36\r\n" + auth + "\r\n" + `{"requested_by":"a\nb\u001b[31m red"}`,
	}
	served := 0
	for i, c := range calls {
		if !strings.Contains(c, "\r\n\r\n") {
			calls[i] = c + "\r\n"
		}
		calls[i] = strings.Replace(calls[i], "\r\nHost:", "\r\nConnection: close\r\nHost:", 1)
		if strings.Contains(b.answers(calls[i]), "Cache-Control: no-store") { // net/http refuses some by itself
			served++
		}
	}
	log := b.log.String()
	lines := 0
	for line := range strings.Lines(log) {
		lines++
		if !strings.HasPrefix(line, "time=") || !strings.Contains(line, " msg=call ") {
			t.Errorf("a line of the log is %q", line)
		}
	}
	if strings.Contains(log, "forged") || bytes.ContainsAny([]byte(log), "\x1b\r\x00") || lines != served || served < 6 {
		t.Errorf("%d calls of %d were served, and made %d lines:\n%s", served, len(calls), lines, log)
	}
}

// A caller that disconnects in the middle of its body is not a fault of the server.
func TestABodyThatBreaksOffIsTheCallersFault(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.token("acme", access.Admin)
	for _, path := range []string{"POST " + acme, "POST " + acme + "/x/links", "PUT /v1/projects/acme/schedules/s"} {
		for _, rest := range []string{"Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n64\r\n{"} {
			conn := b.dial()
			_, err := io.WriteString(conn, path+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+tok+"\r\nContent-Type: application/json\r\n"+rest)
			b.must(err)
			half, ok := conn.(*net.TCPConn)
			if !ok {
				t.Fatalf("the connection is a %T", conn)
			}
			b.must(half.CloseWrite())
			got, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 400 ") || !strings.Contains(string(got), "application/problem+json") {
				t.Errorf("%s: %s (%v)", path, got, err)
			}
		}
	}
	if log := b.log.String(); strings.Contains(log, "status=5") || b.queued() != 0 {
		t.Errorf("%d requests are queued; the log: %s", b.queued(), log)
	}
}
