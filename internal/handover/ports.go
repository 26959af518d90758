package handover

import (
	"context"
	"io"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

// Records keeps links and downloads. Errors may wrap export.ErrLedgerUnavailable; repeating a
// call is then safe. All times are the records' own clock.
type Records interface {
	// IssueLink records a link and returns it with its times; one that is recorded already comes
	// back as it is. ttl runs from the records' now. ErrNoExport.
	IssueLink(ctx context.Context, l Link, ttl time.Duration) (Link, error)
	// Links returns the links of an export, or of a project if the request is empty, newest
	// first.
	Links(ctx context.Context, id export.ID) ([]Link, error)
	// RevokeLink revokes a link; one that was revoked before stays as it is. ErrNoLink.
	RevokeLink(ctx context.Context, project, link, by string) (Link, error)
	// OpenedLink returns a link by its id, the file that it opens, and whether it opens it now.
	// One that is used up opens it for a client that goes on with its download; nil: it does not
	// go on. ErrNoLink.
	OpenedLink(ctx context.Context, link string, client []byte) (Link, File, bool, error)
	// FileOf returns the file of a completed export. ErrNoExport.
	FileOf(ctx context.Context, id export.ID) (File, error)
	// BeginDownload counts a download and returns its id, or the id of the unfinished one of the same
	// client that d goes on with. ErrNotValid: the link was used up, revoked or has expired
	// meanwhile.
	BeginDownload(ctx context.Context, d Download) (id string, err error)
	// SentBytes adds bytes to a download of size. It is whole once all were sent, and over once
	// twice as many were, or over says so.
	SentBytes(ctx context.Context, id string, bytes, size int64, over bool) error

	// DueDeliveries returns deliveries that are due by their rule and have no link yet.
	DueDeliveries(ctx context.Context, limit int) ([]Delivery, error)
	// Delivered notes that the link of a request was issued, or that none will be.
	Delivered(ctx context.Context, id export.ID) error
	// Changes returns what became of links and is not announced yet: downloads that are over
	// or that have been silent for idle, links that were issued, revoked or have expired.
	Changes(ctx context.Context, idle time.Duration, limit int) ([]Change, error)
	// ChangeAnnounced notes that the broker has a change.
	ChangeAnnounced(ctx context.Context, c Change) error
}

// Download is one that begins.
type Download struct {
	export.ID
	Link string // empty: by the API
	// Client tells clients of a link apart: a digest of its address and what it calls itself.
	Client     []byte
	By         string // user or token; empty: the link alone opened it
	Address    string
	UserAgent  string
	Redirected bool
	// Resume says that the client asks for a part: it goes on with its unfinished download, if
	// it has one.
	Resume bool
}

// Delivery is a request that asked for a link.
type Delivery struct {
	export.ID
	Attempt int
	Payload []byte // the request, canonical
}

// Change is something that became of a link or a download.
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

// Announcer publishes changes. It may publish one twice: the broker keeps one.
type Announcer interface {
	Announce(ctx context.Context, c Change) error
}

// Files are the stored exports.
type Files interface {
	// Open returns the stored bytes of a file from an offset on. Those of the whole file are checked
	// while they are read: io.EOF says that they are f. ErrNoExport: no destination has it.
	Open(ctx context.Context, f File, offset int64) (io.ReadCloser, error)
	// Presign returns a URL that lets a client fetch the file from the storage itself; empty
	// where no storage can.
	Presign(ctx context.Context, f File, ttl time.Duration) (string, error)
}
