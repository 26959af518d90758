package s3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"github.com/pgcourier/pgcourier/internal/storage"
)

const (
	// DefaultPartSize is the size of one part of a multipart upload in bytes. S3 takes
	// 10,000 parts, so an export is at most 78 GiB with it.
	DefaultPartSize = 8 << 20
	// MinPartSize is S3's bound for all parts but the last one.
	MinPartSize = 5 << 20
	// maxParts is S3's bound for one upload.
	maxParts = 10_000

	defaultEndpoint = "https://s3.amazonaws.com"
	// metadataTimeout bounds one request to the instance's credential service, which
	// does not answer at all outside a cloud.
	metadataTimeout = 5 * time.Second
	// maxRetries is how often one request is sent at most, with growing pauses; beyond
	// it the export's own deliveries try again.
	maxRetries = 5
)

// Checksum is the algorithm sent beside the SHA-256 of the signature.
type Checksum string

// The checksums of the configuration.
const (
	CRC32C Checksum = "crc32c" // x-amz-checksum-crc32c and Content-MD5; the default
	MD5    Checksum = "md5"    // Content-MD5 alone, for servers that refuse the former
)

// Config describes a bucket and how to reach it.
type Config struct {
	Bucket string // required
	Prefix string // of all objects, without slashes at its ends; may be empty
	// Tenant is the owner of the bucket on servers with tenants (Ceph). Default: the credentials'
	// own.
	Tenant string
	// Endpoint is "https://host[:port][/path]" or "http://host[:port][/path]". Default: AWS.
	Endpoint string
	// Region is the bucket's. Default: the client asks the server.
	Region string
	// PathStyle puts the bucket into the path and not into the host's name.
	PathStyle bool
	// SSE asks for encryption by the server: "", "AES256" or "aws:kms".
	SSE string
	// KMSKeyID is the key for aws:kms. Default: the bucket's own.
	KMSKeyID string
	// StorageClass of new objects, such as STANDARD_IA. Default: the bucket's own.
	StorageClass string
	// CA is a file with certificates of authorities that are trusted beside the system's.
	// Default: AWS_CA_BUNDLE, then none.
	CA string
	// Profile and CredentialsFile say where the keys of this destination are: a profile of the
	// shared credentials file or of a file of its own. Both empty: see Credentials.
	Profile, CredentialsFile string
	// Checksum. Default: CRC32C.
	Checksum Checksum
	// PartSize in bytes, MinPartSize or more. Default: DefaultPartSize.
	PartSize int64

	// Credentials. Default: AWS_ACCESS_KEY_ID and its companions in the environment, then
	// the shared credentials file (AWS_SHARED_CREDENTIALS_FILE, AWS_PROFILE), then the
	// instance's, task's or pod's role.
	Credentials *credentials.Credentials
	// Transport carries the requests. Default: one of its own, closed by Driver.Close.
	Transport http.RoundTripper
	// Around stands around the transport and sees each request of each try. Default: none.
	Around func(http.RoundTripper) http.RoundTripper
	// Logger gets long waits for the server. Default: none.
	Logger *slog.Logger

	tries int // of one request, by the client; default: maxRetries
	sleep func(context.Context, time.Duration) error
}

// bucket is the bucket's name as the server knows it.
func (c Config) bucket() string {
	if c.Tenant != "" {
		return c.Tenant + ":" + c.Bucket
	}
	return c.Bucket
}

// ParseURL reads "s3://bucket/prefix?endpoint=URL&region=R&path_style=true&sse=AES256".
// Further parameters: sse_kms_key_id, checksum (crc32c, md5), part_size_mib, storage_class,
// tenant, ca, profile, credentials_file. Credentials have no place in the URL; unknown
// parameters are refused. All faults are reported together.
func ParseURL(raw string) (Config, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// The error would repeat the URL, which may hold a key by mistake.
		return Config{}, errors.New("s3: the URL cannot be parsed")
	}
	if u.Scheme != "s3" || u.Opaque != "" || u.Fragment != "" {
		return Config{}, errors.New("s3: want s3://bucket/prefix")
	}
	if u.User != nil {
		return Config{}, errors.New("s3: credentials do not belong in the URL: use AWS_ACCESS_KEY_ID or a credentials file")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Config{}, errors.New("s3: the URL's parameters cannot be parsed")
	}
	c := Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	var errs []error
	for name, values := range query {
		if len(values) != 1 {
			errs = append(errs, fmt.Errorf("s3: parameter %s is given %d times", name, len(values)))
			continue
		}
		if err := c.set(name, values[0]); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, c.validate())
	return c, errors.Join(errs...)
}

func (c *Config) set(name, value string) error {
	var err error
	switch name {
	case "endpoint":
		c.Endpoint = value
	case "region":
		c.Region = value
	case "path_style":
		if c.PathStyle, err = strconv.ParseBool(value); err != nil {
			return errors.New("s3: path_style is neither true nor false")
		}
	case "sse":
		c.SSE = value
	case "sse_kms_key_id":
		c.KMSKeyID = value
	case "storage_class":
		c.StorageClass = value
	case "tenant":
		c.Tenant = value
	case "ca":
		c.CA = value
	case "profile":
		c.Profile = value
	case "credentials_file":
		c.CredentialsFile = value
	case "checksum":
		c.Checksum = Checksum(value)
	case "part_size_mib":
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil {
			return errors.New("s3: part_size_mib is no number")
		}
		c.PartSize = n << 20
	default:
		return fmt.Errorf("s3: unknown parameter %q", name)
	}
	return nil
}

var (
	// bucketName is S3's rule without its finer points, and with the underscores of older
	// buckets and other servers: the server knows the rest.
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$`)
	// plainWord is what a class of storage, a tenant and a profile consist of.
	plainWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._ -]{0,62}$`)
)

func (c Config) validate() error {
	var errs []error
	if !bucketName.MatchString(c.Bucket) {
		errs = append(errs, errors.New("s3: not a bucket's name"))
	}
	if c.Prefix != "" && (storage.CheckKey(c.Prefix) != nil || len(c.Prefix) > 200) {
		errs = append(errs, errors.New("s3: the prefix is no plain path of at most 200 bytes"))
	}
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
			u.Path != "" && u.Path != "/" && storage.CheckKey(strings.Trim(u.Path, "/")) != nil || u.RawQuery != "" || u.Fragment != "" {
			errs = append(errs, errors.New("s3: endpoint is not https://host[:port][/path] or http://host[:port][/path]"))
		}
	}
	for name, value := range map[string]string{"storage_class": c.StorageClass, "tenant": c.Tenant, "profile": c.Profile} {
		if value != "" && !plainWord.MatchString(value) {
			errs = append(errs, fmt.Errorf("s3: %s is not a plain name", name))
		}
	}
	if c.CA != "" && strings.HasPrefix(c.Endpoint, "http:") {
		errs = append(errs, errors.New("s3: ca needs an endpoint with https"))
	}
	if c.SSE != "" && c.SSE != "AES256" && c.SSE != "aws:kms" {
		errs = append(errs, errors.New("s3: sse is neither AES256 nor aws:kms"))
	}
	if c.KMSKeyID != "" && c.SSE != "aws:kms" {
		errs = append(errs, errors.New("s3: sse_kms_key_id needs sse=aws:kms"))
	}
	if c.Checksum != "" && c.Checksum != CRC32C && c.Checksum != MD5 {
		errs = append(errs, errors.New("s3: checksum is neither crc32c nor md5"))
	}
	if c.PartSize != 0 && (c.PartSize < MinPartSize || c.PartSize > 5<<30) {
		errs = append(errs, errors.New("s3: parts are 5 MiB to 5 GiB"))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.Endpoint == "" {
		c.Endpoint = defaultEndpoint
	}
	if c.Checksum == "" {
		c.Checksum = CRC32C
	}
	if c.PartSize == 0 {
		c.PartSize = DefaultPartSize
	}
	if c.CA == "" {
		c.CA = os.Getenv("AWS_CA_BUNDLE")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.tries == 0 {
		c.tries, c.sleep = maxRetries, sleep
	}
	if c.Profile != "" || c.CredentialsFile != "" {
		c.Credentials = credentials.New(&credentials.FileAWSCredentials{Filename: c.CredentialsFile, Profile: c.Profile})
	}
	if c.Credentials == nil {
		c.Credentials = credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{},
			&credentials.IAM{Client: &http.Client{Timeout: metadataTimeout}},
		})
	}
	return c
}

// checkProfile reads the keys of a profile, so that a wrong name is noticed at once.
func (c Config) checkProfile() error {
	if c.Profile == "" && c.CredentialsFile == "" {
		return nil
	}
	v, err := c.Credentials.GetWithContext(nil)
	if err != nil {
		return fmt.Errorf("s3: read the credentials of profile %q: %w", c.Profile, err)
	}
	if v.AccessKeyID == "" || v.SecretAccessKey == "" {
		return fmt.Errorf("s3: profile %q has no keys in the credentials file", c.Profile)
	}
	return nil
}

func (c Config) encryption() (encrypt.ServerSide, error) {
	switch c.SSE {
	case "AES256":
		return encrypt.NewSSE(), nil
	case "aws:kms":
		return encrypt.NewSSEKMS(c.KMSKeyID, nil)
	}
	return nil, nil //nolint:nilnil // no encryption asked for
}
