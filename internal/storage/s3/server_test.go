package s3_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pgcourier/pgcourier/internal/storage/s3"
)

const (
	bucket   = "exports"
	partSize = 64 << 10
)

// server is gofakes3 behind a front with the missing features: it verifies SHA-256 and CRC32C and
// honours "If-None-Match" on completing. fault may answer a request itself.
type server struct {
	*httptest.Server
	backend http.Handler
	store   *s3mem.Backend

	mu    sync.Mutex
	fault func(w http.ResponseWriter, r *http.Request, body []byte) (answered bool)
	// silent omits CRC32C and ETags from the answers, as if nothing were verified.
	silent bool
	seen   []*http.Request
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{store: s3mem.New()}
	if err := s.store.CreateBucket(bucket); err != nil {
		t.Fatal(err)
	}
	s.backend = gofakes3.New(s.store).Server()
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) setFault(f func(w http.ResponseWriter, r *http.Request, body []byte) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// config is the configuration of a driver for this server.
func (s *server) config() s3.Config {
	return s3.Config{
		Bucket: bucket, Prefix: "pgcourier/eu", Endpoint: s.URL, Region: "us-east-1", PathStyle: true, PartSize: partSize,
		Credentials: credentials.NewStaticV4("canary-access-key", "canary-secret-key", ""),
	}
}

func (s *server) open(t *testing.T, c s3.Config) *s3.Driver {
	t.Helper()
	d, err := s3.NewSmall(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>the test says so</Message></Error>", code)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	s.mu.Lock()
	s.seen = append(s.seen, r.Clone(r.Context()))
	fault, silent := s.fault, s.silent
	s.mu.Unlock()
	if fault != nil && fault(w, r, body) {
		return
	}
	if want := r.Header.Get("X-Amz-Content-Sha256"); len(want) == 64 {
		if got := sha256.Sum256(body); hex.EncodeToString(got[:]) != want {
			refuse(w, http.StatusBadRequest, "XAmzContentSHA256Mismatch")
			return
		}
	}
	if want := r.Header.Get("X-Amz-Checksum-Crc32c"); want != "" && r.Method == http.MethodPut {
		crc := binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
		if base64.StdEncoding.EncodeToString(crc) != want {
			refuse(w, http.StatusBadRequest, "BadDigest")
			return
		}
		if !silent {
			w.Header().Set("X-Amz-Checksum-Crc32c", want)
		}
	}
	if r.Method == http.MethodPost && r.Header.Get("If-None-Match") == "*" && s.has(r.URL.Path) {
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	s.forward(w, r, body, silent)
}

// has says whether an object exists under a path.
func (s *server) has(path string) bool {
	rec := httptest.NewRecorder()
	s.backend.ServeHTTP(rec, httptest.NewRequest(http.MethodHead, path, nil))
	return rec.Code == http.StatusOK
}

func (s *server) forward(w http.ResponseWriter, r *http.Request, body []byte, silent bool) {
	r.Body = io.NopCloser(bytes.NewReader(body))
	if !silent || r.Method != http.MethodPut {
		s.backend.ServeHTTP(w, r)
		return
	}
	// An opaque ETag, as with encryption by a managed key. Parts are identified by it, so only
	// whole objects get one.
	if r.URL.Query().Has("partNumber") {
		s.backend.ServeHTTP(w, r)
		return
	}
	rec := httptest.NewRecorder()
	s.backend.ServeHTTP(rec, r)
	rec.Header().Set("Etag", `"opaque"`)
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes()) // the client may have gone away
}
