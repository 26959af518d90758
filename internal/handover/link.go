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
	// ErrNoExport says that there is no such export to hand over: it has not completed, or it
	// was deleted.
	ErrNoExport = errors.New("no such export to hand over")
	// ErrNoLink says that a project has no such link.
	ErrNoLink = errors.New("no such link")
	// ErrNotValid says that a link opens nothing: it has expired, was revoked or is used up.
	ErrNotValid = errors.New("the link is not valid")
)

const linkPrefix = "lnk_"

// Link opens one export until it expires, is revoked or is used up.
type Link struct {
	ID       string `json:"link_id"`
	Project  string `json:"project_id"`
	Request  string `json:"request_id"`
	Attempt  int    `json:"attempt"` // 0 until it is recorded
	IssuedBy string `json:"issued_by"`
	// OfRequest says that the request itself asked for it, by deliver.
	OfRequest bool `json:"of_request,omitempty"`
	// NotifyEmail is the address that it is sent to. Empty: none.
	NotifyEmail string `json:"notify_email,omitempty"`
	// MaxDownloads is how often the file can be fetched. 0: as often as one likes.
	MaxDownloads int        `json:"max_downloads,omitempty"`
	Downloads    int        `json:"downloads"` // that have begun
	IssuedAt     time.Time  `json:"issued_at"`
	ExpiresAt    time.Time  `json:"expires_at"`
	RevokedAt    *time.Time `json:"revoked_at,omitempty"`
	RevokedBy    string     `json:"revoked_by,omitempty"`
}

// Of returns the export that the link opens.
func (l Link) Of() export.ID { return export.ID{Project: l.Project, Request: l.Request} }

// State says in one word what the link is at a time: valid, expired, revoked or used.
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

// deliveryID is the id of the link that a request asked for: the same each time, so that
// issuing it twice issues one.
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
	CRC32C      uint32 // 0: not known
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

// Name is the file's name for its receiver.
func (f File) Name() string {
	name := path.Base(f.Key)
	if f.Encrypted && !strings.HasSuffix(name, ".age") {
		name += ".age"
	}
	return name
}

// ContentType is the media type of the stored bytes.
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
