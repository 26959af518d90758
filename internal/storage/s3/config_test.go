package s3_test

import (
	"net/url"
	"path"
	"reflect"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/s3"
)

func TestParseURL(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]s3.Config{
		"s3://exports":        {Bucket: "exports"},
		"s3://exports/":       {Bucket: "exports"},
		"s3://exports/pg/eu/": {Bucket: "exports", Prefix: "pg/eu"},
		"s3://my.bucket-1/p?region=eu-central-1&path_style=true&endpoint=http%3A%2F%2F127.0.0.1%3A9000": {
			Bucket: "my.bucket-1", Prefix: "p", Region: "eu-central-1", PathStyle: true, Endpoint: "http://127.0.0.1:9000",
		},
		"s3://exports?endpoint=https://minio.example:9000&sse=aws:kms&sse_kms_key_id=k&checksum=md5&part_size_mib=16": {
			Bucket: "exports", Endpoint: "https://minio.example:9000", SSE: "aws:kms", KMSKeyID: "k",
			Checksum: s3.MD5, PartSize: 16 << 20,
		},
		"s3://my_exports?endpoint=https://x.example/storage/v1/s3&storage_class=STANDARD_IA&tenant=acme&ca=/etc/ca.pem&profile=eu&credentials_file=/run/secrets/s3": {
			Bucket: "my_exports", Endpoint: "https://x.example/storage/v1/s3", StorageClass: "STANDARD_IA", Tenant: "acme", CA: "/etc/ca.pem",
			Profile: "eu", CredentialsFile: "/run/secrets/s3",
		},
	} {
		if got, err := s3.ParseURL(raw); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", raw, got, err)
		}
	}
}

var badURLs = []string{
	"", "s3:", "s3://", "s3:exports", "http://exports", "s3://ab", "s3://EXPORTS", "s3://exports/../x", "s3://exports/a//b",
	"s3://exports/a b", "s3://exports#x", "s3://AKIA:canary@exports/p", "s3://exports?canary=1", "s3://exports?region=a&region=b",
	"s3://exports?endpoint=ftp://x", "s3://exports?endpoint=https://u:canary@x", "s3://exports?endpoint=https://x/path/../y", "s3://exports?storage_class=a/b", "s3://exports?tenant=%2F",
	"s3://exports?endpoint=http://x&ca=/a",
	"s3://exports?endpoint=x:9000", "s3://exports?path_style=maybe", "s3://exports?sse=rot13", "s3://exports?sse_kms_key_id=k",
	"s3://exports?checksum=crc32", "s3://exports?part_size_mib=4", "s3://exports?part_size_mib=x", "s3://exports?a=%zz",
	"s3://exports/%zz?secret=canary",
}

func TestParseURLRefuses(t *testing.T) {
	t.Parallel()
	for _, raw := range badURLs {
		_, err := s3.ParseURL(raw)
		if err == nil {
			t.Errorf("%q was accepted", raw)
			continue
		}
		if strings.Contains(err.Error(), "AKIA") || strings.Contains(err.Error(), "u:canary") || strings.Contains(err.Error(), "=canary") {
			t.Errorf("%q: the error repeats what may be a secret: %v", raw, err)
		}
	}
}

// An accepted URL makes a driver, has a valid prefix for keys and holds no credentials; the error
// for a refused one does not repeat it. Nothing panics.
func FuzzParseURL(f *testing.F) {
	f.Add("s3://exports/pg?endpoint=https://minio.example:9000&region=x&path_style=true&sse=AES256")
	for _, raw := range badURLs {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		// A key may stand where other URLs have a login.
		const login = "AKIA:canary@"
		rest, isS3 := strings.CutPrefix(raw, "s3://")
		if _, err := s3.ParseURL("s3://" + login + rest); isS3 && !strings.Contains(rest, "AKIA") && (err == nil || strings.Contains(err.Error(), "AKIA")) && !strings.HasPrefix(rest, "/") {
			t.Fatalf("with a login: %v", err)
		}
		c, err := s3.ParseURL(raw)
		if err != nil {
			return
		}
		if c.Prefix != "" && storage.CheckKey(c.Prefix) != nil || storage.CheckKey(path.Join(c.Prefix, "acme/r.1.sql")) != nil {
			t.Fatalf("accepted the prefix %q", c.Prefix)
		}
		if u, err := url.Parse(c.Endpoint); err != nil || u.User != nil || c.PartSize < 0 {
			t.Fatalf("accepted %+v", c)
		}
		d, err := s3.New(c)
		if err != nil {
			return // the client knows finer rules for buckets and endpoints
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}
