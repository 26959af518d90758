package s3_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/s3"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// client accesses the server without the driver.
func (s *server) client(t *testing.T) *minio.Core {
	t.Helper()
	transport, err := minio.DefaultTransport(false)
	check(t, err)
	t.Cleanup(transport.CloseIdleConnections)
	c, err := minio.NewCore(strings.TrimPrefix(s.URL, "http://"), &minio.Options{
		Creds: s.config().Credentials, Region: "us-east-1", BucketLookup: minio.BucketLookupPath, Transport: transport,
	})
	check(t, err)
	return c
}

func (s *server) put(t *testing.T, c *minio.Core, object string, data []byte) {
	t.Helper()
	_, err := c.Client.PutObject(t.Context(), bucket, object, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{
		DisableContentSha256: true, // gofakes3 cannot take an empty body signed in chunks
	})
	check(t, err)
}

// remains lists objects and unfinished uploads, without the litter.
func (s *server) remains(t *testing.T, c *minio.Core) []string {
	t.Helper()
	var left []string
	for info := range c.ListObjectsIter(t.Context(), bucket, minio.ListObjectsOptions{Recursive: true}) {
		check(t, info.Err)
		if !strings.Contains(info.Key, "litter") {
			left = append(left, info.Key)
		}
	}
	page, err := c.ListMultipartUploads(t.Context(), bucket, "", "", "", "", 1000)
	if minio.ToErrorResponse(err).Code == "NoSuchUpload" {
		return left // gofakes3 returns this while there was no upload
	}
	check(t, err)
	for _, u := range page.Uploads {
		left = append(left, "unfinished "+u.Key)
	}
	return left
}

func (s *server) destination(t *testing.T, c s3.Config) storagetest.Destination {
	t.Helper()
	raw := s.client(t)
	return storagetest.Destination{
		Driver: s.open(t, c), PartSize: partSize,
		Reopen: func(t *testing.T) storage.Driver { return s.open(t, c) },
		Alter: func(t *testing.T, ref storage.Ref, data []byte) {
			s.put(t, raw, c.Prefix+"/"+string(ref), data)
		},
		Litter: func(t *testing.T) {
			for _, name := range []string{
				"litter", "pgcourier/eu/litter.manifest.json/x", "pgcourier/eu/acme/.litter", "pgcourier/eu/acme/litter 1.sql",
				"pgcourier/eulitter/a.1.sql.manifest.json", "other/litter.1.sql.manifest.json", "pgcourier/eu/litter/",
			} {
				s.put(t, raw, name, []byte("x"))
			}
		},
		Remains: func(t *testing.T) []string { return s.remains(t, raw) },
		Crash: func(t *testing.T, key string) {
			object := c.Prefix + "/" + key
			id, err := raw.NewMultipartUpload(t.Context(), bucket, object, minio.PutObjectOptions{})
			check(t, err)
			_, err = raw.PutObjectPart(t.Context(), bucket, object, id, 1, strings.NewReader("x"), 1, minio.PutObjectPartOptions{
				DisableContentSha256: true,
			})
			check(t, err)
		},
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, 1000, func(t *testing.T) storagetest.Destination {
		s := newServer(t)
		return s.destination(t, s.config())
	})
}

// With opaque ETags and no echoed checksums, and with MD5 alone.
func TestConformanceOnPlainServers(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, 20, func(t *testing.T) storagetest.Destination {
		s := newServer(t)
		s.silent = true
		c := s.config()
		c.Checksum, c.SSE = s3.MD5, "AES256"
		return s.destination(t, c)
	})
}

func save(ctx context.Context, d storage.Driver, key string, data []byte) error {
	r, err := storage.New(storage.Config{Driver: d})
	if err != nil {
		return err
	}
	_, err = r.Put(ctx, key, bytes.NewReader(data), storagetest.Describe(key, data))
	return err
}

const key = "acme/r.1.sql.zst"

func TestURIAndHeaders(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.config()
	c.SSE, c.KMSKeyID = "aws:kms", "key-1"
	d := s.open(t, c)
	check(t, d.Check(t.Context()))
	if got := d.URI(key, "x"); got != "s3://exports/pgcourier/eu/"+key {
		t.Errorf("URI %q", got)
	}
	check(t, save(t.Context(), d, key, storagetest.Bytes(3*partSize)))
	encrypted := 0
	for _, r := range s.seen {
		if r.Header.Get("X-Amz-Server-Side-Encryption") == "aws:kms" &&
			r.Header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id") == "key-1" {
			encrypted++
		}
		if r.Method == http.MethodPut && r.URL.Query().Has("partNumber") && (r.Header.Get("Content-Md5") == "" ||
			r.Header.Get("X-Amz-Checksum-Crc32c") == "" || len(r.Header.Get("X-Amz-Content-Sha256")) != 64) {
			t.Errorf("a part without its checksums: %v", r.Header)
		}
		if r.Method == http.MethodGet && !r.URL.Query().Has("location") && !r.URL.Query().Has("list-type") {
			t.Errorf("read back what the server verified: %s", r.URL)
		}
	}
	if encrypted < 2 { // the start of the upload, and the manifest
		t.Errorf("%d requests ask for encryption", encrypted)
	}
}
