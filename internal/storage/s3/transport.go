package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"
)

// newTransport returns the client's usual transport. With a file of certificates their
// authorities are trusted too.
func newTransport(secure bool, ca string) (*http.Transport, error) {
	t, err := minio.DefaultTransport(secure)
	if err != nil || !secure || ca == "" {
		return t, err
	}
	pem, err := os.ReadFile(ca) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("read ca: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca: %s holds no certificate", ca)
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.RootCAs = roots
	return t, nil
}

// clock is the time in a server's answer, and ours when it came.
type clock struct{ date, seen time.Time }

// watch looks at each answer: it notes the server's clock, refuses pages, and tells of deletions
// that only hide.
type watch struct {
	next   http.RoundTripper
	driver *Driver
}

func (w watch) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		w.driver.served.Store(&clock{date, time.Now()})
	}
	if resp.Header.Get("X-Amz-Delete-Marker") == "true" {
		if hidden, ok := req.Context().Value(hiddenKey{}).(*bool); ok && req.Method == http.MethodDelete {
			*hidden = true
		}
	}
	if !isPage(resp) {
		return resp, nil
	}
	const enough = 4 << 10
	text, _ := io.ReadAll(io.LimitReader(resp.Body, enough)) // what came tells enough
	page := &notS3Error{status: resp.StatusCode, said: string(text)}
	if to, err := url.Parse(resp.Header.Get("Location")); err == nil && to.Host != "" {
		page.said = "redirected to " + to.Host
	}
	return nil, errors.Join(page, resp.Body.Close())
}

// isPage reports whether an answer is a page for people, which S3 never sends. An error of a
// proxy's is told by its status where that says enough.
func isPage(resp *http.Response) bool {
	html := strings.HasPrefix(strings.ToLower(resp.Header.Get("Content-Type")), "text/html")
	switch code := resp.StatusCode; {
	case code == http.StatusFound, code == http.StatusSeeOther:
		return true
	case code >= http.StatusInternalServerError, code == http.StatusRequestEntityTooLarge, code == http.StatusTooManyRequests:
		return false
	}
	return html
}

type hiddenKey struct{}

// noteHidden returns a context with which a deletion says whether it only hid the object.
func noteHidden(ctx context.Context) (context.Context, *bool) {
	hidden := new(bool)
	return context.WithValue(ctx, hiddenKey{}, hidden), hidden
}

// below puts the path of an endpoint before that of each request, which the client cannot, and
// signs it anew: the path is under the signature.
type below struct {
	next        http.RoundTripper
	path        string // without a slash at its end
	credentials *credentials.Credentials
	context     *credentials.CredContext
}

func (b below) RoundTrip(req *http.Request) (*http.Response, error) {
	v, err := b.credentials.GetWithContext(b.context)
	if err != nil {
		return nil, fmt.Errorf("get the credentials: %w", err)
	}
	moved := req.Clone(req.Context())
	moved.URL.Path = b.path + req.URL.Path
	if req.URL.RawPath != "" {
		moved.URL.RawPath = b.path + req.URL.RawPath
	}
	region, ok := regionOf(req.Header.Get("Authorization"))
	if ok {
		moved.Header.Del("Authorization")
		moved = signer.SignV4(*moved, v.AccessKeyID, v.SecretAccessKey, v.SessionToken, region).WithContext(req.Context())
	}
	return b.next.RoundTrip(moved)
}

// regionOf reads the region in a signature: Credential=KEY/DATE/REGION/s3/aws4_request.
func regionOf(authorization string) (region string, ok bool) {
	_, scope, ok := strings.Cut(authorization, "Credential=")
	if !ok {
		return "", false
	}
	scope, _, _ = strings.Cut(scope, ",")
	parts := strings.Split(scope, "/")
	const fromEnd = 3
	if len(parts) < fromEnd+2 {
		return "", false
	}
	return parts[len(parts)-fromEnd], true
}
