package handover

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/seal"
)

var (
	// ErrNoExport means that there is no such export: it has not completed, or it was deleted.
	ErrNoExport = errors.New("no such export to hand over")
	// ErrNoLink means that a project has no such link.
	ErrNoLink = errors.New("no such link")
	// ErrNotValid means that a link has expired, was revoked or is used up.
	ErrNotValid = errors.New("the link is not valid")
)

const linkPrefix = "lnk_"

// Opens is what a link opens at a time.
type Opens int

// What a link opens.
const (
	OpensNothing Opens = iota // it has expired or was revoked, or the export was deleted
	OpensReceipt              // it is used up
	OpensFile                 // the page, the file and the receipt
)

// Link opens one export until it expires, is revoked or is used up.
type Link struct {
	ID       string `json:"link_id"`
	Project  string `json:"project_id"`
	Request  string `json:"request_id"`
	Attempt  int    `json:"attempt"` // 0 before it is recorded
	IssuedBy string `json:"issued_by"`
	// OfRequest: the request has the link in deliver.
	OfRequest bool `json:"of_request,omitempty"`
	// NotifyEmail is the mail address to which the link is sent. Empty: none.
	NotifyEmail string `json:"notify_email,omitempty"`
	// MaxDownloads is how often the file can be downloaded. 0: no limit.
	MaxDownloads int        `json:"max_downloads,omitempty"`
	Downloads    int        `json:"downloads"` // that have begun
	IssuedAt     time.Time  `json:"issued_at"`
	ExpiresAt    time.Time  `json:"expires_at"`
	RevokedAt    *time.Time `json:"revoked_at,omitempty"`
	RevokedBy    string     `json:"revoked_by,omitempty"`
}

// Of returns the export that the link opens.
func (l Link) Of() export.ID { return export.ID{Project: l.Project, Request: l.Request} }

// State returns the state of the link at a time: valid, expired, revoked or used.
func (l Link) State(now time.Time) string {
	switch {
	case l.RevokedAt != nil:
		return "revoked"
	case !l.ExpiresAt.After(now):
		return "expired"
	case l.MaxDownloads > 0 && l.Downloads >= l.MaxDownloads:
		return "used"
	}
	return "valid"
}

// newLinkID returns a random link id.
func newLinkID() string { return linkPrefix + strings.ToLower(rand.Text()) }

// deliveryID returns the id of a request's own link. It is always the same, so that a repeated issue
// makes no second link.
func deliveryID(id export.ID, attempt int) string {
	sum := sha256.Sum256([]byte("pgcourier delivery\x00" + id.Project + "\x00" + id.Request + "\x00" + strconv.Itoa(attempt)))
	return linkPrefix + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:26]
}

// File is the stored export that a link opens.
type File struct {
	export.ID
	Key         string // in the storage
	Format      export.Format
	Compression seal.Compression
	Encrypted   bool
	Bytes       int64
	SHA256      string // lower-case hex
	CRC32C      uint32 // 0: unknown
	Recipients  []string
	Receipt     []byte // the signed receipt; nil: there is none
	Trace       export.Trace
}

// NewFile returns the file of a completed export that is stored under key.
func NewFile(id export.ID, key string, a export.Artifact, trace export.Trace) File {
	f := File{
		ID: id, Key: key, Format: a.Format, Compression: a.Compression, Encrypted: a.Encryption == seal.Age,
		Bytes: a.StoredBytes, SHA256: a.SHA256, CRC32C: a.CRC32C, Recipients: a.Recipients, Trace: trace,
	}
	if a.Receipt != nil {
		f.Receipt = a.Receipt.Envelope
	}
	return f
}

// Name returns the file's name for the client.
func (f File) Name() string {
	name := path.Base(f.Key)
	if f.Encrypted && !strings.HasSuffix(name, ".age") {
		name += ".age"
	}
	return name
}

// ContentType returns the media type of the stored bytes.
func (f File) ContentType() string {
	switch {
	case f.Encrypted:
		return "application/octet-stream" // age has none of its own
	case f.Compression == seal.Gzip:
		return "application/gzip"
	case f.Compression == seal.Zstd:
		return "application/zstd"
	case f.Format == export.SQL:
		return "application/sql"
	case f.Format == export.Tar, f.Format == export.Directory:
		return "application/x-tar"
	}
	return "application/octet-stream"
}
