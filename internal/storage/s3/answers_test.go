package s3_test

import (
	"errors"
	"fmt"
	"html"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// answer is an observed answer of a server, or of a proxy before it.
type answer struct {
	name   string
	status int
	code   string            // of S3's XML; empty: body as it is
	text   string            // S3's message, or the body
	header map[string]string // beside the usual ones
	reads  bool              // reads get it too; else only writes
	want   codes.Code
	kind   error
	said   []string // within the outcome's message
	advice string   // within the log's and doctor's text
}

var answers = []answer{
	{name: "a checksum that it does not know", status: 400, code: "InvalidArgument", text: "Unsupported header 'x-amz-checksum-crc32c' received for this API call.", want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"Unsupported header 'x-amz-checksum-crc32c'"}, advice: "checksum=md5"},
	{name: "a checksum that is not implemented", status: 501, code: "NotImplemented", text: "Header 'x-amz-checksum-algorithm' with value 'CRC32C' not implemented", want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"not implemented"}, advice: "checksum=md5"},
	{name: "KMS is not configured", status: 400, code: "NotImplemented", text: "Server side encryption specified but KMS is not configured", want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"KMS", "not configured"}, advice: "sse"},
	{name: "a disabled key", status: 400, code: "KMS.DisabledException", text: "arn:aws:kms:eu-west-1:123456789012:key/1 is disabled.", want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"KMS.DisabledException", "arn:*** is disabled"}, advice: "kms:GenerateDataKey"},
	{name: "a key that is gone", status: 400, code: "KMS.NotFoundException", text: "Key 'x' does not exist", want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"KMS"}},
	{name: "no right to the key", status: 403, code: "AccessDenied", text: "User: arn:aws:iam::123456789012:user/eve is not authorized to perform: kms:GenerateDataKey on this resource", want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"KMS", "GenerateDataKey"}, advice: "kms:GenerateDataKey"},
	{name: "a proxy's bound", status: 413, text: "<html><head><title>413 Request Entity Too Large</title></head><body>nginx</body></html>", header: map[string]string{"Content-Type": "text/html"}, want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"413 Request Entity Too Large"}, advice: "part_size_mib"},
	{name: "an object that is too large", status: 400, code: "EntityTooLarge", text: "Your proposed upload exceeds the maximum allowed size", want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"no object of this size"}},
	{name: "an expired token", status: 400, code: "ExpiredToken", text: "The provided token has expired.", reads: true, want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"have expired", "token has expired"}, advice: "AWS_SESSION_TOKEN"},
	{name: "a wrong token", status: 400, code: "InvalidToken", text: "The provided token is malformed or otherwise invalid.", reads: true, want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"session token"}},
	{name: "another region", status: 400, code: "AuthorizationHeaderMalformed", text: "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-central-1'", header: map[string]string{"X-Amz-Bucket-Region": "eu-central-1"}, reads: true, want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"another region, eu-central-1"}, advice: "region=eu-central-1"},
	{name: "a redirect to another region", status: 301, code: "PermanentRedirect", text: "The bucket you are attempting to access must be addressed using the specified endpoint.", header: map[string]string{"X-Amz-Bucket-Region": "eu-west-1"}, reads: true, want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"another region, eu-west-1"}, advice: "region=eu-west-1"},
	{name: "a redirect for now", status: 307, code: "TemporaryRedirect", text: "Please re-send this request to the specified temporary endpoint.", header: map[string]string{"X-Amz-Bucket-Region": "eu-west-3"}, reads: true, want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"another region, eu-west-3"}},
	{name: "a clock that is wrong", status: 403, code: "RequestTimeTooSkewed", text: "The difference between the request time and the server's time is too large.", header: map[string]string{"Date": "Mon, 02 Jan 2006 15:04:05 GMT"}, reads: true, want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"clock", "2006-01-02 15:04:05"}, advice: "NTP"},
	{name: "a cap of the account", status: 403, code: "AccessDenied", text: "Cannot upload files, storage cap exceeded. See the Caps & Alerts page to increase your cap.", want: codes.StorageFull, kind: storage.ErrFull, said: []string{"no room", "storage cap exceeded"}, advice: "raise the cap"},
	{name: "a quota", status: 403, code: "QuotaExceeded", text: "over", want: codes.StorageFull, kind: storage.ErrFull},
	{name: "MinIO's full disk", status: 507, code: "XMinioStorageFull", text: "Storage backend has reached its minimum free drive threshold.", want: codes.StorageFull, kind: storage.ErrFull},
	{name: "a full disk without a word", status: 507, text: "", want: codes.StorageFull, kind: storage.ErrFull},
	{name: "a captive portal", status: 200, text: "<html><title>Welcome to the hotel</title></html>", header: map[string]string{"Content-Type": "text/html; charset=utf-8"}, reads: true, want: codes.StorageUnavailable, kind: storage.ErrUnavailable, said: []string{"not S3's but a page", "Welcome to the hotel"}, advice: "captive portal"},
	{name: "a captive portal that redirects", status: 302, text: "", header: map[string]string{"Location": "https://portal.example/login?id=1"}, reads: true, want: codes.StorageUnavailable, kind: storage.ErrUnavailable, said: []string{"not S3's", "portal.example"}},
	{name: "a server's page for what it does not have", status: 404, text: "<html><title>404 Not Found</title></html>", header: map[string]string{"Content-Type": "text/html"}, reads: true, want: codes.StorageUnavailable, kind: storage.ErrUnavailable, said: []string{"not S3's", "404 Not Found"}},
	{name: "a firewall's page", status: 403, text: "<html><title>Blocked</title></html>", header: map[string]string{"Content-Type": "text/html"}, reads: true, want: codes.StorageUnavailable, kind: storage.ErrUnavailable, said: []string{"Blocked"}},
	{name: "no right to write", status: 403, code: "AccessDenied", text: "Access Denied.", want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"refuses the worker's credentials", "AccessDenied"}},
	{name: "no right at all", status: 403, code: "AccessDenied", text: "Access Denied.", reads: true, want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"refuses the worker's credentials"}, advice: "under the prefix"},
	{name: "an unknown key", status: 403, code: "InvalidAccessKeyId", text: "The AWS Access Key Id you provided does not exist in our records. canary-access-key", reads: true, want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"does not know the key", "***"}},
	{name: "a wrong secret", status: 403, code: "SignatureDoesNotMatch", text: "The request signature we calculated does not match", reads: true, want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"signature does not match"}},
	{name: "an account that was not paid", status: 403, code: "AccountProblem", text: "There is a problem with your account.", reads: true, want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"account"}},
	{name: "401 without a word", status: 401, text: "", reads: true, want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"credentials"}},
	{name: "no bucket", status: 404, code: "NoSuchBucket", text: "The specified bucket does not exist", reads: true, want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"bucket does not exist"}},
	{name: "a class that it does not know", status: 400, code: "InvalidStorageClass", text: "The storage class you specified is not valid", want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"storage class"}, advice: "storage_class"},
	{name: "the console's port", status: 405, code: "MethodNotAllowed", text: "The specified method is not allowed", want: codes.StorageRefused, kind: storage.ErrRefused, said: []string{"does not understand"}},
	{name: "damaged on the way", status: 400, code: "BadDigest", text: "The Content-MD5 you specified did not match", want: codes.StorageUnavailable, kind: storage.ErrUnavailable, said: []string{"BadDigest"}},
	{name: "a slow client", status: 400, code: "RequestTimeout", text: "Your socket connection was not read from", want: codes.StorageUnavailable, kind: storage.ErrUnavailable},
	{name: "another writer", status: 409, code: "ConditionalRequestConflict", text: "A conflicting operation occurred", want: codes.StorageUnavailable, kind: storage.ErrUnavailable},
	{name: "too many requests", status: 503, code: "SlowDown", text: "Please reduce your request rate.", want: codes.StorageUnavailable, kind: storage.ErrUnavailable, said: []string{"SlowDown"}},
	{name: "a server without a backend", status: 502, text: "<html><title>502 Bad Gateway</title></html>", header: map[string]string{"Content-Type": "text/html"}, want: codes.StorageUnavailable, kind: storage.ErrUnavailable, said: []string{"502 Bad Gateway"}},
}

func TestEachAnswerHasItsClassAndItsWords(t *testing.T) {
	t.Parallel()
	for _, a := range answers {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			d := s.open(t, s.config().Quick(func(time.Duration) {}))
			s.setFault(func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
				if !a.reads && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
					return false
				}
				w.Header().Set("Content-Type", "application/xml")
				for k, v := range a.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(a.status)
				body := a.text
				if a.code != "" {
					body = fmt.Sprintf("<Error><Code>%s</Code><Message>%s</Message></Error>", a.code, html.EscapeString(a.text))
				}
				_, _ = w.Write([]byte(body)) // a HEAD has none
				return true
			})
			for _, size := range []int64{100, 3 * partSize} {
				err := save(t.Context(), d, key, storagetest.Bytes(size))
				f, ok := errors.AsType[*export.Fault](err)
				if !ok || f.Code != a.want || !errors.Is(err, a.kind) || errors.Is(err, storage.ErrRefused) != errors.Is(a.kind, storage.ErrRefused) {
					t.Fatalf("put of %d bytes: %v", size, err)
				}
				for _, word := range a.said {
					if !strings.Contains(f.Message, word) {
						t.Errorf("%q is not in the outcome: %s", word, f.Message)
					}
				}
				a.log(t, err)
			}
			err := d.Check(t.Context())
			if (err != nil) != a.reads || err != nil && !errors.Is(err, a.kind) {
				t.Errorf("check: %v", err)
			}
			if err != nil {
				a.log(t, err)
			}
			s.setFault(nil)
			if left := s.remains(t, s.client(t)); len(left) != 0 && a.status != http.StatusOK {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// log checks the text for the log and for doctor.
func (a answer) log(t *testing.T, err error) {
	t.Helper()
	text := err.Error()
	if !strings.Contains(text, a.advice) || strings.Contains(text, "canary") || strings.Contains(text, "<html") || strings.Contains(text, "123456789012") {
		t.Errorf("the log has: %s", text)
	}
}
