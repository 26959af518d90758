package s3_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/s3"
)

// Credentials with access to their own prefix only: neither HEAD of the bucket nor a list of it.
func TestCredentialsOfAPrefixAreEnough(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.config()
	d := s.open(t, c)
	s.setFault(func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		own := strings.HasPrefix(r.URL.Path, "/"+bucket+"/"+c.Prefix+"/") || strings.HasPrefix(r.URL.Query().Get("prefix"), c.Prefix+"/")
		if !own {
			refuse(w, http.StatusForbidden, "AccessDenied")
		}
		return !own
	})
	check(t, d.Check(t.Context()))
	check(t, d.Mark(t.Context(), storage.NewMarker(time.Now())))
	check(t, save(t.Context(), d, key, storagetest.Bytes(3*partSize)))
	r, err := storage.New(storage.Config{Driver: d})
	check(t, err)
	check(t, r.Probe(t.Context()))
	for k, err := range r.Keys(t.Context()) {
		if k != key || err != nil {
			t.Errorf("%s, %v", k, err)
		}
	}
	check(t, r.Delete(t.Context(), key))
}

// A server that is too busy for three quarters of a minute costs no attempt.
func TestABusyServerIsWaitedFor(t *testing.T) {
	t.Parallel()
	for what, size := range map[string]int64{"single": 100, "multipart": 3 * partSize} {
		for _, status := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusInternalServerError} {
			t.Run(fmt.Sprint(what, status), func(t *testing.T) {
				t.Parallel()
				s := newServer(t)
				var waited atomic.Int64
				c := s.config()
				var log bytes.Buffer
				c.Logger = slog.New(slog.NewTextHandler(&log, nil))
				d := s.open(t, c.Quick(func(d time.Duration) { waited.Add(int64(d)) }))
				s.setFault(func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
					busy := r.Method != http.MethodHead && time.Duration(waited.Load()) < 45*time.Second
					if busy {
						refuse(w, status, "SlowDown")
					}
					return busy
				})
				check(t, save(t.Context(), d, key, storagetest.Bytes(size)))
				if got := time.Duration(waited.Load()); got < 45*time.Second || got > 91*time.Second {
					t.Errorf("waited for %s", got)
				}
				if what == "single" && !strings.Contains(log.String(), "waiting for a storage that is too busy") {
					t.Errorf("the log does not show the wait:\n%s", log.String())
				}
			})
		}
	}
}

// A server that answers a condition with "bad request" gets none.
func TestServerThatRefusesConditions(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"InvalidArgument", "InvalidRequest", "BadRequest"} {
		s := newServer(t)
		s.setFault(func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			if r.Header.Get("If-None-Match") == "" {
				return false
			}
			refuse(w, http.StatusBadRequest, code)
			return true
		})
		d := s.open(t, s.config())
		check(t, save(t.Context(), d, key, storagetest.Bytes(3*partSize)))
		if err := save(t.Context(), d, key, []byte("x")); !errors.Is(err, storage.ErrExists) {
			t.Errorf("%s: put again: %v", code, err)
		}
	}
}

// A bucket that keeps versions hides deleted objects, and the error says so.
func TestADeletionThatOnlyHidesIsReported(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	d := s.open(t, s.config())
	check(t, save(t.Context(), d, key, []byte("x")))
	s.setFault(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		if r.Method != http.MethodDelete || r.URL.Query().Has("uploadId") {
			return false
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.backend.ServeHTTP(httptest.NewRecorder(), r)
		w.Header().Set("X-Amz-Delete-Marker", "true")
		w.Header().Set("X-Amz-Version-Id", "v1")
		w.WriteHeader(http.StatusNoContent)
		return true
	})
	r, err := storage.New(storage.Config{Driver: d})
	check(t, err)
	if got, err := r.Remove(t.Context(), key); err != nil || got != storage.Hidden || got.String() != "hidden" {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := r.Remove(t.Context(), key); err != nil || got != storage.Absent {
		t.Errorf("again: %s, %v", got, err)
	}
}

func TestABucketThatKeepsWhatIsDeletedIsSeen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		versioning, lock string
		want             s3.Keeping
		seen             bool
	}{
		"plain":     {versioning: "<VersioningConfiguration/>", seen: true},
		"versioned": {versioning: "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>", want: s3.Keeping{Versions: true}, seen: true},
		"locked": {
			versioning: "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
			lock:       "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>",
			want:       s3.Keeping{Versions: true, Locked: true}, seen: true,
		},
		"locked by default": {
			versioning: "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
			lock: `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>
				<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Years>10</Years></DefaultRetention></Rule></ObjectLockConfiguration>`,
			want: s3.Keeping{Versions: true, Locked: true, Lock: "10 years (COMPLIANCE)"}, seen: true,
		},
		"forbidden": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			d := s.open(t, s.config())
			s.setFault(func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
				text := c.versioning
				switch {
				case r.URL.Query().Has("object-lock"):
					text = c.lock
				case !r.URL.Query().Has("versioning"):
					return false
				}
				if text == "" {
					refuse(w, http.StatusForbidden, "AccessDenied")
				} else {
					_, _ = io.WriteString(w, text)
				}
				return true
			})
			if got, seen := d.Keeps(t.Context()); got != c.want || seen != c.seen {
				t.Errorf("%+v, seen %t", got, seen)
			}
		})
	}
}

// A server behind a path (Supabase, a gateway) gets requests below it, with a signature of the
// path.
func TestAnEndpointWithAPath(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := signed(r, "canary-secret-key"); err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		http.StripPrefix("/storage/v1/s3", s).ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	for _, size := range []int64{100, 3 * partSize} {
		c := s.config()
		c.Endpoint, c.PathStyle, c.StorageClass = front.URL+"/storage/v1/s3", false, "STANDARD_IA"
		d := s.open(t, c)
		check(t, d.Check(t.Context()))
		check(t, save(t.Context(), d, fmt.Sprintf("acme/r.%d.sql", size), storagetest.Bytes(size)))
		r, err := storage.New(storage.Config{Driver: d})
		check(t, err)
		body, err := r.Open(t.Context(), fmt.Sprintf("acme/r.%d.sql", size))
		check(t, err)
		_, err = io.Copy(io.Discard, body)
		check(t, errors.Join(err, body.Close()))
	}
	classes := 0
	for _, r := range s.seen {
		if r.Header.Get("X-Amz-Storage-Class") == "STANDARD_IA" {
			classes++
		}
	}
	if classes != 4 { // two exports, each with its manifest
		t.Errorf("%d objects have the class", classes)
	}
}

// signed checks the signature of a request as a server does (AWS Signature Version 4).
func signed(r *http.Request, secret string) error {
	auth := r.Header.Get("Authorization")
	field := func(name string) string {
		_, rest, _ := strings.Cut(auth, name+"=")
		value, _, _ := strings.Cut(rest, ",")
		return value
	}
	scope := strings.Split(field("Credential"), "/")
	if len(scope) != 5 {
		return fmt.Errorf("authorization %q", auth)
	}
	var headers strings.Builder
	for name := range strings.SplitSeq(field("SignedHeaders"), ";") {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = strconv.FormatInt(r.ContentLength, 10)
		}
		fmt.Fprintf(&headers, "%s:%s\n", name, strings.TrimSpace(value))
	}
	query := strings.Split(r.URL.RawQuery, "&")
	slices.Sort(query)
	hash := sha256.Sum256([]byte(strings.Join([]string{
		r.Method, r.URL.EscapedPath(), strings.Join(query, "&"), headers.String(), field("SignedHeaders"), r.Header.Get("X-Amz-Content-Sha256"),
	}, "\n")))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", r.Header.Get("X-Amz-Date"), strings.Join(scope[1:], "/"), hex.EncodeToString(hash[:])}, "\n")
	mac := []byte("AWS4" + secret)
	for _, part := range append(scope[1:], text) {
		h := hmac.New(sha256.New, mac)
		_, _ = h.Write([]byte(part)) // a hash never fails
		mac = h.Sum(nil)
	}
	if got := field("Signature"); got != hex.EncodeToString(mac) {
		return errors.New("the signature does not match")
	}
	return nil
}

// Names that AWS does not allow, or no longer: older buckets, other servers, tenants.
func TestBucketsOfOtherServers(t *testing.T) {
	t.Parallel()
	for path, c := range map[string]s3.Config{
		"/my_exports/":     {Bucket: "my_exports"},
		"/acme:exports/":   {Bucket: "exports", Tenant: "acme"},
		"/acme:my_exports": {Bucket: "my_exports", Tenant: "acme"},
	} {
		s := newServer(t)
		at := s.config()
		at.Bucket, at.Tenant, at.PathStyle = c.Bucket, c.Tenant, false
		d := s.open(t, at)
		s.setFault(func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			if !strings.HasPrefix(r.URL.Path, path) {
				t.Errorf("asked for %s, want %s", r.URL.Path, path)
			}
			_, _ = io.WriteString(w, "<ListBucketResult><Name>x</Name></ListBucketResult>")
			return true
		})
		check(t, d.Check(t.Context()))
	}
}

// Each destination can have its own keys.
func TestKeysOfAProfile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "credentials")
	check(t, os.WriteFile(file, []byte("[default]\naws_access_key_id = one\naws_secret_access_key = s1\n[eu]\naws_access_key_id = two\naws_secret_access_key = s2\n[empty]\n"), 0o600))
	for profile, want := range map[string]string{"": "one", "eu": "two", "default": "one"} {
		s := newServer(t)
		c := s.config()
		c.Credentials, c.CredentialsFile, c.Profile = nil, file, profile
		d := s.open(t, c)
		check(t, d.Check(t.Context()))
		if got := s.seen[0].Header.Get("Authorization"); !strings.Contains(got, "Credential="+want+"/") {
			t.Errorf("profile %q: %s", profile, got)
		}
	}
	for _, profile := range []string{"empty", "missing"} {
		if _, err := s3.New(s3.Config{Bucket: "exports", CredentialsFile: file, Profile: profile}); err == nil {
			t.Errorf("profile %q is accepted", profile)
		}
	}
	if _, err := s3.New(s3.Config{Bucket: "exports", CredentialsFile: file + ".missing"}); err == nil {
		t.Error("a missing file is accepted")
	}
}

// A server with a certificate of a private authority. The test is not parallel: it changes the
// environment.
func TestAPrivateCertificateAuthority(t *testing.T) {
	s := newServer(t)
	secure := httptest.NewTLSServer(s)
	t.Cleanup(secure.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	check(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600))
	c := s.config()
	c.Endpoint = secure.URL
	if err := s.open(t, c.Quick(func(time.Duration) {})).Check(t.Context()); err == nil {
		t.Error("an unknown authority is trusted")
	}
	own := c
	own.CA = ca
	check(t, s.open(t, own).Check(t.Context()))
	t.Setenv("AWS_CA_BUNDLE", ca)
	check(t, s.open(t, c).Check(t.Context()))
	own.CA = filepath.Join(t.TempDir(), "none.pem")
	if _, err := s3.NewSmall(own); err == nil {
		t.Error("a missing file is accepted")
	}
}
