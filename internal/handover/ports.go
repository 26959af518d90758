package handover

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

// Records keeps links and downloads. Errors may wrap export.ErrLedgerUnavailable; repeating a
// call is then safe. All times are the records' own clock.
type Records interface {
	// IssueLink records a link and returns it with its times. If it is recorded already, IssueLink
	// returns that record. ttl starts at the records' time. ErrNoExport.
	IssueLink(ctx context.Context, l Link, ttl time.Duration) (Link, error)
	// Links returns the links of an export, or of a project if the request is empty, newest
	// first.
	Links(ctx context.Context, id export.ID) ([]Link, error)
	// RevokeLink revokes a link. A revoked link does not change. ErrNoLink.
	RevokeLink(ctx context.Context, project, link, by string) (Link, error)
	// OpenedLink returns a link by its id, its file, and what the link opens now. A used-up link still
	// opens its file for a client that resumes its download; a nil client does not resume. ErrNoLink.
	OpenedLink(ctx context.Context, link string, client []byte) (Link, File, Opens, error)
	// FileOf returns the file of a completed export. ErrNoExport.
	FileOf(ctx context.Context, id export.ID) (File, error)
	// BeginDownload counts a download and returns its id. If d resumes an unfinished download of the
	// same client, it returns that id. ErrNotValid: the link was used up, was revoked or has expired in
	// between.
	BeginDownload(ctx context.Context, d Download) (id string, err error)
	// SentBytes adds sent bytes to a download of size bytes. A download is complete after all bytes,
	// and over after twice as many, or with over.
	SentBytes(ctx context.Context, id string, bytes, size int64, over bool) error

	// DueDeliveries returns deliveries that are due by their rule and have no link yet.
	DueDeliveries(ctx context.Context, limit int) ([]Delivery, error)
	// Delivered records that the link of a request was issued, or that there will be none.
	Delivered(ctx context.Context, id export.ID) error
	// Changes returns unpublished changes of links: downloads that are over or silent for idle, and
	// links that were issued, were revoked or have expired.
	Changes(ctx context.Context, idle time.Duration, limit int) ([]Change, error)
	// ChangeAnnounced records that a change was published.
	ChangeAnnounced(ctx context.Context, c Change) error
}

// Download describes a download at its beginning.
type Download struct {
	export.ID
	Link string // empty: by the API
	// Client identifies a client of a link: a digest of its address and user agent.
	Client     []byte
	By         string // user or token; empty: the link alone opened it
	Address    string
	UserAgent  string
	Redirected bool
	// Resume: the client requests a part, so it resumes its unfinished download, if it has one.
	Resume bool
}

// Delivery is a request that asked for a link.
type Delivery struct {
	export.ID
	Attempt int
	Payload []byte // the request, canonical
}

// Change is a change of a link or a download.
type Change struct {
	Link     Link
	Issued   bool
	Ended    bool // revoked or expired
	Download *Downloaded
	Trace    export.Trace
}

// Downloaded is a download that is over.
type Downloaded struct {
	DownloadID string
	Download
	Bytes      int64
	Whole      bool
	StartedAt  time.Time
	FinishedAt time.Time
}

// kind names the kind of the change's event.
func (c Change) kind() string {
	switch {
	case c.Download != nil:
		return "downloaded"
	case c.Ended && c.Link.RevokedAt != nil:
		return "revoked"
	case c.Ended:
		return "expired"
	}
	return "issued"
}

// ErrNoEvent means that a change cannot be published now or later: its event would break the contract.
var ErrNoEvent = errors.New("the change of a link has no valid event")

// Announcer publishes changes. It may publish one twice: the broker stores one.
type Announcer interface {
	// Announce publishes a change. ErrNoEvent; export.ErrUnavailable: the broker has not stored it, maybe after
	// a long wait.
	Announce(ctx context.Context, c Change) error
}

// Files are the stored exports.
type Files interface {
	// Open returns the stored bytes of a file from an offset on, once the first of them were read. The
	// body returns io.EOF only if the bytes of the whole file have the hash of f. ErrNoExport: no
	// destination has it.
	Open(ctx context.Context, f File, offset int64) (io.ReadCloser, error)
	// Presign returns a URL with which a client can fetch the file from the storage; empty if no
	// storage can now.
	Presign(ctx context.Context, f File, ttl time.Duration) (string, error)
}
