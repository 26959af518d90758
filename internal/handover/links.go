package handover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

// LinksConfig configures Links.
type LinksConfig struct {
	Records Records
	Keys    *Keys
	// PublicURL is the URL of the Handler for clients, without /d/. Empty: no links can be issued.
	PublicURL string
	// Read returns the link that a request names in deliver. Required for Run.
	Read func(payload []byte) (IssueRequest, error)
	// Check validates the texts of a link by the contract. Required.
	Check func(IssueRequest) error
	// Announcer publishes the events in Run. Nil: another process publishes them.
	Announcer Announcer
	Log       *slog.Logger
}

// Links issues, lists and revokes links. It is safe for concurrent use.
type Links struct{ config LinksConfig }

// NewLinks returns Links with the defaults of c filled in.
func NewLinks(c LinksConfig) *Links {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	return &Links{c}
}

// The bounds of a link's life, the same as in the contract.
const (
	DefaultTTL = 7 * 24 * time.Hour
	MinTTL     = time.Minute
	MaxTTL     = 366 * 24 * time.Hour
)

// IssueRequest asks for a link of a completed export.
type IssueRequest struct {
	export.ID
	By           string        // the user or token; required
	TTL          time.Duration // default: DefaultTTL
	MaxDownloads int           // 0: no limit
	NotifyEmail  string        // empty: no mail
}

// ErrBadLink means that a requested link is not valid.
var ErrBadLink = errors.New("bad link")

// Issue issues a link and returns it with its URL, which only Issue returns. Errors wrap
// ErrNoExport, ErrBadLink or export.ErrLedgerUnavailable.
func (l *Links) Issue(ctx context.Context, r IssueRequest) (Link, string, error) {
	if r.TTL == 0 {
		r.TTL = DefaultTTL
	}
	switch {
	case l.config.PublicURL == "":
		return Link{}, "", fmt.Errorf("%w: PUBLIC_URL is not set", ErrBadLink)
	case r.TTL < MinTTL || r.TTL > MaxTTL:
		return Link{}, "", fmt.Errorf("%w: it must be valid for 1 minute to 366 days", ErrBadLink)
	case r.MaxDownloads < 0 || r.MaxDownloads > 1_000_000:
		return Link{}, "", fmt.Errorf("%w: max_downloads must be 1 to 1000000", ErrBadLink)
	}
	if err := l.config.Check(r); err != nil {
		return Link{}, "", fmt.Errorf("%w: %w", ErrBadLink, err)
	}
	link, err := l.config.Records.IssueLink(ctx, Link{
		ID: newLinkID(), Project: r.Project, Request: r.Request, IssuedBy: r.By, NotifyEmail: r.NotifyEmail, MaxDownloads: r.MaxDownloads,
	}, r.TTL)
	if err != nil {
		return Link{}, "", err
	}
	return link, l.url(link), nil
}

// List returns the links of an export, newest first; of a project if the request is empty.
func (l *Links) List(ctx context.Context, id export.ID) ([]Link, error) {
	return l.config.Records.Links(ctx, id)
}

// Revoke revokes a link. A second call changes nothing. ErrNoLink.
func (l *Links) Revoke(ctx context.Context, project, link, by string) (Link, error) {
	return l.config.Records.RevokeLink(ctx, project, link, by)
}

func (l *Links) url(link Link) string {
	return URL(l.config.PublicURL, l.config.Keys.Token(link))
}

// URL returns the address of a link by its token.
func URL(public, token string) string { return strings.TrimRight(public, "/") + "/d/" + token }
