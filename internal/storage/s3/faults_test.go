package s3_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// For any answer of the server: a clear fault, no secret, nothing visible afterwards.
func TestServerFaults(t *testing.T) {
	t.Parallel()
	part := func(r *http.Request) bool { return r.Method == http.MethodPut }
	completing := func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Has("uploadId") }
	for what, test := range map[string]struct {
		at     func(r *http.Request) bool
		status int
		code   string
		want   codes.Code
		is     error
	}{
		"no room":            {part, http.StatusInsufficientStorage, "XMinioStorageFull", codes.StorageFull, storage.ErrFull},
		"quota":              {part, http.StatusForbidden, "QuotaExceeded", codes.StorageFull, storage.ErrFull},
		"credentials":        {part, http.StatusForbidden, "AccessDenied", codes.StorageRefused, storage.ErrRefused},
		"damaged on the way": {part, http.StatusBadRequest, "BadDigest", codes.StorageUnavailable, storage.ErrUnavailable},
		"bucket vanished":    {part, http.StatusNotFound, "NoSuchBucket", codes.StorageRefused, storage.ErrRefused},
		"not completed":      {completing, http.StatusBadRequest, "InvalidPart", codes.StorageUnavailable, storage.ErrUnavailable},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			raw := s.client(t)
			d := s.open(t, s.config())
			s.setFault(func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
				if !test.at(r) {
					return false
				}
				refuse(w, test.status, test.code)
				return true
			})
			err := save(t.Context(), d, key, storagetest.Bytes(3*partSize))
			f, ok := errors.AsType[*export.Fault](err)
			if !ok || f.Code != test.want || !errors.Is(err, test.is) {
				t.Errorf("put: %v", err)
			}
			if strings.Contains(fmt.Sprint(err), "canary-secret") {
				t.Errorf("the error holds the secret key: %v", err)
			}
			s.setFault(nil)
			if left := s.remains(t, raw); len(left) != 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

func TestMissingBucket(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.config()
	c.Bucket = "no-such-bucket"
	d := s.open(t, c)
	for what, err := range map[string]error{
		"put": save(t.Context(), d, key, []byte("x")), "check": d.Check(t.Context()),
		"long put": save(t.Context(), d, key, storagetest.Bytes(3*partSize)),
	} {
		answer, ok := errors.AsType[*storage.Answer](err)
		if !ok || !errors.Is(err, storage.ErrRefused) || answer.What != "the storage bucket does not exist" {
			t.Errorf("%s: %v", what, err)
		}
		if f, ok := errors.AsType[*export.Fault](err); what != "check" && (!ok || f.Code != codes.StorageRefused || f.Message != answer.Message()) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	d := s.open(t, s.config())
	s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := save(ctx, d, key, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
}

// The reply to a write is lost after the server did it. The client's repetition finds its own
// object and must recognise it.
func TestLostReply(t *testing.T) {
	t.Parallel()
	for what, size := range map[string]int64{"single": 100, "multipart": 3 * partSize} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			d := s.open(t, s.config())
			lost := 0
			s.setFault(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
				write := r.Method == http.MethodPut && !r.URL.Query().Has("partNumber") ||
					r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
				if !write || s.has(r.URL.Path) {
					return false
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
				s.backend.ServeHTTP(httptest.NewRecorder(), r)
				lost++
				refuse(w, http.StatusServiceUnavailable, "SlowDown")
				return true
			})
			data := storagetest.Bytes(size)
			check(t, save(t.Context(), d, key, data))
			if lost != 2 {
				t.Errorf("%d replies were lost, want the data's and the manifest's", lost)
			}
			r, err := storage.New(storage.Config{Driver: d})
			check(t, err)
			body, err := r.Open(t.Context(), key)
			check(t, err)
			got, err := io.ReadAll(body)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			check(t, body.Close())
		})
	}
}

// A server without conditions gets none after it reported that.
func TestServerWithoutConditions(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.setFault(func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		if r.Header.Get("If-None-Match") == "" {
			return false
		}
		refuse(w, http.StatusNotImplemented, "NotImplemented")
		return true
	})
	d := s.open(t, s.config())
	check(t, save(t.Context(), d, key, storagetest.Bytes(3*partSize)))
	if err := save(t.Context(), d, key, []byte("x")); !errors.Is(err, storage.ErrExists) {
		t.Errorf("put again: %v", err)
	}
}

// A connection that ends in the middle of the body is not the end of the blob.
func TestCutBody(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	d := s.open(t, s.config())
	check(t, save(t.Context(), d, key, storagetest.Bytes(partSize)))
	s.setFault(func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		if r.Method != http.MethodGet {
			return false
		}
		w.Header().Set("Content-Length", "65536")
		w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		w.Header().Set("ETag", `"x"`)
		_, _ = w.Write(storagetest.Bytes(partSize)[:1000])
		return true // the server closes the connection: too few bytes
	})
	body, err := d.Open(t.Context(), key, 0)
	check(t, err)
	if n, err := io.Copy(io.Discard, body); !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d bytes, %v", n, err)
	}
	check(t, body.Close())
}

func TestAnUntrustedServerGetsNothing(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	s := newServer(t)
	c := s.config()
	c.Endpoint = srv.URL
	d := s.open(t, c)
	for what, err := range map[string]error{"check": d.Check(t.Context()), "put": save(t.Context(), d, key, []byte("x"))} {
		_, refused := errors.AsType[*tls.CertificateVerificationError](err)
		if !refused || !errors.Is(err, storage.ErrUnavailable) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d requests came through", n)
	}
}
