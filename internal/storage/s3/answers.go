package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// row says what an answer of a server means. It matches by all that it gives.
type row struct {
	codes  []string // S3's own words for errors; none: any
	status int      // 0: any
	words  string   // within code or message, in lower case; "": any
	kind   error
	what   string
	advice string
}

// transfers are the codes of what is wrong with one transfer and may be right with the next.
var transfers = []string{
	"BadDigest", "InvalidDigest", "IncompleteBody", "RequestTimeout", "InvalidPart", "InvalidPartOrder",
	"XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "NoSuchUpload",
}

// rows are looked through in order; the first match counts. What is in none of them may pass by
// itself: storage.ErrUnavailable.
var rows = []row{
	{codes: []string{minio.NoSuchKey, "NotFound"}, kind: storage.ErrNotFound, what: "the storage does not hold this object"},
	{codes: []string{minio.NoSuchBucket}, kind: storage.ErrRefused, what: "the storage bucket does not exist", advice: "correct its name, or the endpoint and region that it is asked for at"},
	{codes: []string{minio.PreconditionFailed}, kind: storage.ErrExists, what: "the object is there already"},

	{
		codes: []string{"XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "InsufficientCapacity", "ServiceQuotaExceeded", "ServiceQuotaExceededException", "StorageQuotaExceeded", "EntityQuotaExceeded"},
		kind:  storage.ErrFull, what: "the storage has no room left",
	},
	{status: http.StatusInsufficientStorage, kind: storage.ErrFull, what: "the storage has no room left"},
	{words: "storage cap exceeded", kind: storage.ErrFull, what: "the storage has no room left", advice: "raise the cap in the account"},
	{words: "quota exceeded", kind: storage.ErrFull, what: "the storage has no room left"},

	{words: "kms", kind: storage.ErrRefused, what: "the storage refuses to encrypt: KMS", advice: "correct sse and sse_kms_key_id, and let the credentials use the key (kms:GenerateDataKey, kms:Decrypt)"},
	{words: "generatedatakey", kind: storage.ErrRefused, what: "the storage refuses to encrypt: KMS", advice: "let the credentials use the key (kms:GenerateDataKey, kms:Decrypt)"},
	{codes: []string{"InvalidEncryptionAlgorithmError", "ServerSideEncryptionConfigurationNotFoundError"}, kind: storage.ErrRefused, what: "the storage refuses to encrypt", advice: "correct sse"},

	{words: "x-amz-checksum", kind: storage.ErrRefused, what: "the storage does not know the checksum", advice: "add checksum=md5 to the URL"},
	{words: "x-amz-sdk-checksum", kind: storage.ErrRefused, what: "the storage does not know the checksum", advice: "add checksum=md5 to the URL"},

	{codes: []string{minio.EntityTooLarge, "MaxMessageLengthExceeded", "MaxUploadLengthExceeded"}, kind: storage.ErrRefused, what: "the storage takes no object of this size", advice: "lower part_size_mib, or raise the bound of the server or of the proxy before it"},
	{status: http.StatusRequestEntityTooLarge, kind: storage.ErrRefused, what: "the storage takes no object of this size", advice: "lower part_size_mib, or raise the bound of the server or of the proxy before it"},

	{codes: []string{"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}, kind: storage.ErrRefused, what: "the storage refuses the worker's credentials: they have expired", advice: "renew AWS_SESSION_TOKEN and its keys, or use a role"},
	{codes: []string{"InvalidToken"}, kind: storage.ErrRefused, what: "the storage refuses the worker's credentials: their session token", advice: "correct AWS_SESSION_TOKEN, or unset it"},
	{
		codes: []string{minio.RequestTimeTooSkewed, "RequestExpired", "RequestInTheFuture"},
		kind:  storage.ErrRefused, what: "the storage refuses the worker's clock", advice: "keep both machines' clocks with NTP",
	},
	{words: "request has expired", kind: storage.ErrRefused, what: "the storage refuses the worker's clock", advice: "keep both machines' clocks with NTP"},

	{
		codes: []string{minio.AuthorizationHeaderMalformed, minio.InvalidRegion, "PermanentRedirect", "TemporaryRedirect", "Redirect", "IllegalLocationConstraintException", "IncorrectEndpoint"},
		kind:  storage.ErrRefused, what: "the storage bucket is in another region", advice: "correct region and endpoint",
	},
	{status: http.StatusMovedPermanently, kind: storage.ErrRefused, what: "the storage bucket is in another region", advice: "correct region and endpoint"},
	{status: http.StatusTemporaryRedirect, words: "region", kind: storage.ErrRefused, what: "the storage bucket is in another region", advice: "correct region and endpoint"},

	{codes: []string{"AccountProblem", "NotSignedUp", "InvalidPayer", "AllAccessDisabled", "AccountSuspended"}, kind: storage.ErrRefused, what: "the storage refuses the account", advice: "look at the account at the provider"},
	{status: http.StatusPaymentRequired, kind: storage.ErrRefused, what: "the storage refuses the account", advice: "look at the account at the provider"},
	{codes: []string{"InvalidObjectState"}, kind: storage.ErrRefused, what: "the object is archived", advice: "restore it from its archive class first"},
	{words: "object lock", kind: storage.ErrRefused, what: "the storage bucket locks its objects", advice: "see its retention rules"},
	{words: "worm", kind: storage.ErrRefused, what: "the storage bucket locks its objects", advice: "see its retention rules"},
	{codes: []string{"InvalidStorageClass"}, kind: storage.ErrRefused, what: "the storage does not know the storage class", advice: "correct storage_class"},

	{codes: []string{"InvalidAccessKeyId"}, kind: storage.ErrRefused, what: "the storage refuses the worker's credentials: it does not know the key", advice: "correct AWS_ACCESS_KEY_ID, or the endpoint"},
	{codes: []string{"SignatureDoesNotMatch"}, kind: storage.ErrRefused, what: "the storage refuses the worker's credentials: the signature does not match", advice: "correct AWS_SECRET_ACCESS_KEY; a proxy that changes headers or the path does this too"},
	{
		codes: []string{minio.AccessDenied, "InvalidSecurity", "InvalidClientTokenId", "UnauthorizedAccess", "Unauthorized", "UnauthorizedAccessException", "MissingAuthenticationToken", "MissingSecurityHeader", "CredentialsNotSupported", "InvalidCredentials"},
		kind:  storage.ErrRefused, what: "the storage refuses the worker's credentials", advice: "let them get, put, list and delete under the prefix: see docs/storage.md",
	},
	{status: http.StatusUnauthorized, kind: storage.ErrRefused, what: "the storage refuses the worker's credentials"},
	{status: http.StatusForbidden, kind: storage.ErrRefused, what: "the storage refuses the worker's credentials"},

	{
		codes: transfers,
		kind:  storage.ErrUnavailable, what: "the storage could not take the upload",
	},
	{
		codes: []string{minio.InvalidArgument, "InvalidRequest", "InvalidBucketName", "InvalidBucketState", "InvalidURI", "KeyTooLongError", "MalformedXML", "MethodNotAllowed", minio.NotImplemented, minio.APINotSupported, "UnsupportedOperation"},
		kind:  storage.ErrRefused, what: "the storage does not understand the request",
	},
	{status: http.StatusBadRequest, kind: storage.ErrRefused, what: "the storage does not understand the request"},
	{status: http.StatusMethodNotAllowed, kind: storage.ErrRefused, what: "the storage does not understand the request", advice: "is the endpoint that of S3, and not of its console?"},
}

func (r row) matches(e minio.ErrorResponse, text string) bool {
	return (len(r.codes) == 0 || slices.Contains(r.codes, e.Code)) && (r.status == 0 || r.status == e.StatusCode) &&
		(r.words == "" || strings.Contains(text, r.words))
}

// notS3Error says that something else than S3 answered: a captive portal, a proxy's page, a
// console.
type notS3Error struct {
	status int
	said   string
}

func (e *notS3Error) Error() string {
	return fmt.Sprintf("the answer (%d) is a page and not S3's", e.status)
}

// wrap classes an error of the server or of the way to it.
func (d *Driver) wrap(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("%w: %w", ctxErr, err)
	}
	if page, ok := errors.AsType[*notS3Error](err); ok {
		return &storage.Answer{
			Kind: storage.ErrUnavailable, What: "the storage's answer is not S3's but a page", Said: d.words(page.said), Err: page,
			Advice: "a captive portal, a proxy or a console answers at the endpoint",
		}
	}
	var e minio.ErrorResponse
	if !errors.As(err, &e) {
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	return d.classed(e)
}

// classed is an answer with its class.
func (d *Driver) classed(e minio.ErrorResponse) *storage.Answer {
	text := strings.ToLower(e.Code + " " + e.Message)
	a := &storage.Answer{Kind: storage.ErrUnavailable, What: "the storage cannot be used now", Err: e}
	for _, r := range rows {
		if r.matches(e, text) {
			a.Kind, a.What, a.Advice = r.kind, r.what, r.advice
			break
		}
	}
	a.Said = d.words(e.Code + ": " + e.Message)
	if e.Code == "" || strings.HasPrefix(e.Message, e.Code) || strings.HasPrefix(e.Code, strconv.Itoa(e.StatusCode)) {
		a.Said = d.words(fmt.Sprintf("%d %s", e.StatusCode, e.Message))
	}
	switch {
	case strings.Contains(a.What, "region") && e.Region != "":
		a.What += ", " + storage.Words(e.Region)
		a.Advice = "add region=" + storage.Words(e.Region) + " to the URL"
	case strings.Contains(a.What, "clock"):
		if at := d.served.Load(); at != nil {
			a.What += fmt.Sprintf(": its own says %s, ours %s", at.date.UTC().Format(time.DateTime), at.seen.UTC().Format(time.DateTime))
		}
	}
	return a
}

// words are a server's, without the credentials.
func (d *Driver) words(said string) string {
	var hidden []string
	if d.credentials != nil && !d.credentials.IsExpired() { // else it would ask for new ones
		if v, err := d.credentials.GetWithContext(nil); err == nil {
			hidden = []string{v.SecretAccessKey, v.SessionToken, v.AccessKeyID}
		}
	}
	return storage.Words(said, hidden...)
}

// ask finds out why a HEAD was refused, because its answer has no body: a listing of the own
// prefix with one entry is refused for the same reason, in words. Any other error, and one that
// the listing does not have, comes back as it is.
func (d *Driver) ask(ctx context.Context, err error) error {
	var e minio.ErrorResponse
	_, page := errors.AsType[*notS3Error](err)
	silent := page || errors.As(err, &e) && slices.Contains([]int{
		http.StatusBadRequest, http.StatusMovedPermanently, http.StatusForbidden, http.StatusTemporaryRedirect, http.StatusUnauthorized,
	}, e.StatusCode)
	if !silent {
		return err
	}
	if told := d.listOne(ctx); told != nil {
		return told
	}
	return err
}

// listOne asks for the first object under the prefix.
func (d *Driver) listOne(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the client's listing may run beside us
	for info := range d.core.ListObjectsIter(ctx, d.bucket, minio.ListObjectsOptions{Prefix: d.prefix, Recursive: true, MaxKeys: 1}) {
		return info.Err
	}
	return ctx.Err()
}
