package handover_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pgcourier/pgcourier/internal/dev/s3test"
	"github.com/pgcourier/pgcourier/internal/dev/telegramtest"
	"github.com/pgcourier/pgcourier/internal/handover"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// setupTelegram makes a bench on a chat of a test server.
func setupTelegram(t *testing.T) (*bench, *telegramtest.Server) {
	t.Helper()
	server, err := telegramtest.Start(telegramtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	const chat = 4242
	server.AddChat(telegramtest.Chat{ID: chat, Type: "private"})
	token := server.AddBot("courier")
	server.SetMember(chat, token, telegramtest.Admin())
	b := setupWith(t, destinations.Options{TelegramToken: secret.String(token), AllowPlaintext: true}, fmt.Sprintf("telegram://%d?api=%s", chat, url.QueryEscape(server.URL())))
	return b, server
}

// cut reads a body that must end with an error.
func (b *bench) cut(what string, r *http.Response, size int) {
	b.t.Helper()
	got, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if r.StatusCode != http.StatusOK || err == nil || len(got) >= size {
		b.t.Errorf("%s: %d, %d of %d bytes, %v", what, r.StatusCode, len(got), size, err)
	}
}

func TestALinkToTelegramIsResumedInTheMiddle(t *testing.T) {
	t.Parallel()
	b, _ := setupTelegram(t)
	data := random(t, 20<<20) // two parts
	id := b.export("r1", `{}`, data)
	_, link := b.issue(id, 1)
	r := b.call("POST", link)
	first := make([]byte, 1<<20)
	if _, err := io.ReadFull(r.Body, first); err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	// Into the middle of the first part, and of the second.
	for _, from := range []int{len(first), len(data) - 1000} {
		r := b.call("POST", link, "Range", fmt.Sprintf("bytes=%d-", from))
		if rest := body(t, r); r.StatusCode != http.StatusPartialContent || !bytes.Equal(slices.Concat(data[:from], rest), data) {
			t.Errorf("resumed at %d: %d, %d bytes", from, r.StatusCode, len(rest))
		}
	}
	links, err := b.links.List(t.Context(), id)
	if err != nil || len(links) != 1 || links[0].Downloads != 1 {
		t.Errorf("links %+v, %v", links, err)
	}
}

func TestTelegramThatFailsInTheMiddleCutsTheConnection(t *testing.T) {
	t.Parallel()
	b, server := setupTelegram(t)
	data := random(t, 8<<20) // one part
	_, link := b.issue(b.export("r1", `{}`, data), 0)
	fetch := func() (files, downloads int) {
		before := server.Stats().Requests
		files, downloads = before["getFile"], before["download"]
		if got := body(t, b.call("POST", link)); !bytes.Equal(got, data) {
			t.Fatalf("%d bytes", len(got))
		}
		after := server.Stats().Requests
		return after["getFile"] - files, after["download"] - downloads
	}
	fetch() // requests that the process makes once
	files, downloads := fetch()

	server.Inject(telegramtest.Fault{Kind: telegramtest.Flip, Method: "download", Skip: downloads - 1, After: 5 << 20})
	b.cut("a flipped bit", b.call("POST", link), len(data))
	server.Heal()

	server.Inject(telegramtest.Fault{Kind: telegramtest.Reset, Method: "download", Skip: downloads - 1, After: 5 << 20})
	server.Inject(telegramtest.Fault{Kind: telegramtest.Says, Method: "getFile", Skip: files, Times: -1, Code: 400, Says: "Bad Request: wrong file_id or the file is temporarily unavailable"})
	b.cut("a file that is gone", b.call("POST", link), len(data))
	server.Heal()
	fetch()
}

// breaking ends each body after some bytes, while it is armed.
type breaking struct {
	next  http.RoundTripper
	after atomic.Int64 // 0: it is not
}

func (b *breaking) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if n := b.after.Load(); err == nil && n > 0 && r.Method == http.MethodGet {
		resp.Body = &broken{resp.Body, n}
	}
	return resp, err
}

// broken is a body that fails after so many bytes.
type broken struct {
	io.ReadCloser
	left int64
}

func (b *broken) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("connection reset by peer")
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func TestS3ThatFailsInTheMiddleCutsTheConnection(t *testing.T) {
	t.Parallel()
	server, err := s3test.Start("exports")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	network := &breaking{}
	b := setupWith(t, destinations.Options{
		S3: credentials.NewStaticV4("key", "secret", ""),
		Transport: func(_ string, next http.RoundTripper) http.RoundTripper {
			network.next = next
			return network
		},
	}, server.Storage("exports"))
	data := random(t, 8<<20)
	_, link := b.issue(b.export("r1", `{}`, data), 10) // with a count the client is not redirected to S3
	network.after.Store(5 << 20)
	b.cut("a connection that is lost", b.call("POST", link), len(data))
	network.after.Store(0)
	if got := body(t, b.call("POST", link)); !bytes.Equal(got, data) {
		t.Errorf("afterwards: %d bytes", len(got))
	}
}

// One destination that is away, or that has the manifest only, must not make an export that another
// destination has unavailable.
func TestAnotherDestinationServesWhatTheFirstCannot(t *testing.T) {
	t.Parallel()
	server, err := s3test.Start("exports")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	b := setup(t, server.Storage("exports"), "file://"+filepath.Join(t.TempDir(), "second"))
	data := random(t, 100_000)
	id := b.export("r1", `{}`, data)
	_, free := b.issue(id, 0)
	_, counted := b.issue(id, 10)
	byAPI := http.NewServeMux()
	byAPI.Handle(handover.Prefix, b.handler)
	byAPI.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		if err := b.handler.ServeFile(w, r, id, "portal"); err != nil {
			http.Error(w, err.Error(), http.StatusTeapot)
		}
	})
	b.server.Config.Handler = byAPI
	if r := b.call("POST", free); r.StatusCode != http.StatusSeeOther {
		t.Errorf("with both: %d", r.StatusCode)
	}
	serves := func(what string) {
		t.Helper()
		for name, url := range map[string]string{"free": free, "counted": counted, "api": b.server.URL + "/file"} {
			if r := b.call("POST", url, "Range", "bytes=10-"); r.StatusCode != http.StatusPartialContent || !bytes.Equal(body(t, r), data[10:]) {
				t.Errorf("%s: %s: %d", what, name, r.StatusCode)
			}
		}
		if r := b.call("GET", free); r.StatusCode != http.StatusOK {
			t.Errorf("%s: the page: %d", what, r.StatusCode)
		}
	}
	if r := b.call("DELETE", server.URL()+"/exports/acme/r1.1.sql.gz"); r.StatusCode != http.StatusNoContent {
		t.Fatalf("not deleted: %d", r.StatusCode)
	}
	serves("without the blob of S3")
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	serves("without S3")
}

// A client that has begun still gets an export that is deleted meanwhile; the next client gets the
// answer for an unknown one.
func TestAnExportThatIsDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	data := random(t, 32<<20) // more than the sockets' buffers
	_, link := b.issue(b.export("r1", `{}`, data), 0)
	r := b.call("POST", link)
	first := make([]byte, 1<<20)
	if _, err := io.ReadFull(r.Body, first); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(b.storage, "acme", "r1.1.sql.gz")
	if err := errors.Join(os.Remove(file+".manifest.json"), os.Remove(file)); err != nil {
		t.Fatal(err)
	}
	if rest := body(t, r); !bytes.Equal(slices.Concat(first, rest), data) {
		t.Errorf("%d bytes", len(first)+len(rest))
	}
	if r := b.call("POST", link); r.StatusCode != http.StatusNotFound {
		t.Errorf("the next: %d", r.StatusCode)
	}
}

// Another export's manifest and bytes in the place of this one's are not sent.
func TestBytesThatTheLedgerDoesNotKnowAreNotHandedOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, link := b.issue(b.export("r1", `{}`, random(t, 1000)), 0)
	other := setup(t)
	other.export("r1", `{}`, random(t, 1000))
	for _, end := range []string{"", ".manifest.json"} {
		name := filepath.Join("acme", "r1.1.sql.gz"+end)
		text, err := os.ReadFile(filepath.Join(other.storage, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(b.storage, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r := b.call("POST", link)
	if text := body(t, r); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), "cannot be fetched") {
		t.Errorf("%d %s", r.StatusCode, text)
	}
}
