package handover

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pgcourier/pgcourier/internal/export"
)

// HandlerConfig configures a Handler. Fields without a default are required.
type HandlerConfig struct {
	Records Records
	Files   Files
	Keys    *Keys
	// Address returns the client's IP address. Default: of the connection.
	Address func(*http.Request) string
	// Stall is how long a client may read no bytes. Default: 30 s.
	Stall time.Duration
	// Observe is called at the end of each transfer. Default: none.
	Observe func(Transfer)
	Log     *slog.Logger
}

// Transfer is the response that sent a file, or a part of it.
type Transfer struct {
	ByLink bool
	Result TransferResult
	Bytes  int64
}

// TransferResult is how a transfer ended.
type TransferResult string

// The results of transfers.
const (
	TransferSent       TransferResult = "sent"       // all bytes that were asked for
	TransferCut        TransferResult = "cut"        // the client, the storage or the check of the bytes broke it off
	TransferRedirected TransferResult = "redirected" // the storage sends the bytes
)

// Handler serves links: /d/<token>. A GET returns a page. A POST, or a GET with "Accept:
// application/octet-stream", returns the file, so that the preview of a mail scanner does not count as
// a download. It is safe for concurrent use.
type Handler struct {
	config HandlerConfig
	fast   chan struct{} // see pace
}

// NewHandler returns a Handler with the defaults of c filled in.
func NewHandler(c HandlerConfig) *Handler {
	if c.Address == nil {
		c.Address = connectionAddress
	}
	if c.Stall == 0 {
		c.Stall = 30 * time.Second
	}
	if c.Observe == nil {
		c.Observe = func(Transfer) {}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Handler{config: c, fast: make(chan struct{}, largeSteps)}
}

func connectionAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}

// Prefix is the prefix of the paths that a Handler serves.
const Prefix = "/d/"

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	fetch := r.Method == http.MethodPost || wantsFile(r)
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "use GET for the page and POST for the file", http.StatusMethodNotAllowed)
		return
	}
	token, receipt := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, Prefix), "/receipt")
	var resuming []byte
	if fetch && r.Header.Get("Range") != "" {
		resuming, _, _ = h.client(r)
	}
	least := OpensFile
	if receipt {
		least = OpensReceipt
	}
	link, file, err := h.open(r.Context(), token, resuming, least)
	switch {
	case errors.Is(err, ErrNotValid), err == nil && receipt && file.Receipt == nil:
		h.refuse(w)
	case err != nil:
		h.unavailable(w, r, err)
	case receipt: // does not count as a download
		w.Header().Set("Content-Type", "application/vnd.dsse.v1+json")
		w.Header().Set("Content-Disposition", Disposition(file.Name()+".receipt.json"))
		_, _ = w.Write(file.Receipt) // fails only when the client has gone
	case fetch:
		err := h.send(w, r, file, Download{ID: link.Of(), Link: link.ID}, link)
		if errors.Is(err, ErrNotValid) || errors.Is(err, ErrNoExport) {
			h.refuse(w)
		} else if err != nil {
			h.unavailable(w, r, err)
		}
	default:
		h.page(w, r, link, file)
	}
}

// open returns the link and the file of a token that opens at least what need says. It does the same work for
// every token: one look-up in the records and one comparison with each key. ErrNotValid.
func (h *Handler) open(ctx context.Context, token string, client []byte, need Opens) (Link, File, error) {
	id, mac := parseToken(token)
	link, file, opens, err := h.config.Records.OpenedLink(ctx, id, client)
	if err != nil && !errors.Is(err, ErrNoLink) {
		return Link{}, File{}, err
	}
	known := err == nil
	if !known {
		link = Link{ID: id, Project: strings.Repeat("a", 20), Request: strings.Repeat("a", 20)}
	}
	if !h.config.Keys.recognises(link, mac) || !known || opens < need {
		return Link{}, File{}, ErrNotValid
	}
	return link, file, nil
}

// ServeFile sends the stored bytes of an export to a caller that the API has authorized, with the same
// ranges and the same records of downloads. by is the user or token. It returns errors only before the
// first byte: they wrap ErrNoExport or export.ErrLedgerUnavailable.
func (h *Handler) ServeFile(w http.ResponseWriter, r *http.Request, id export.ID, by string) error {
	file, err := h.config.Records.FileOf(r.Context(), id)
	if err != nil {
		return err
	}
	return h.send(w, r, file, Download{ID: id, By: by}, Link{})
}

// refuse writes the same answer for unknown, expired, revoked and used-up links and deleted exports.
func (h *Handler) refuse(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write(refusal) // fails only when the client has gone
}

// unavailable writes the answer while the ledger or the storage is unreachable.
func (h *Handler) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	h.config.Log.WarnContext(r.Context(), "download not served", "error", err)
	w.Header().Set("Retry-After", "10")
	http.Error(w, "The file cannot be fetched now. Try again in a moment.", http.StatusServiceUnavailable)
}

// wantsFile reports whether a GET asks for the file and not for the page.
func wantsFile(r *http.Request) bool {
	for accept := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		media, _, _ := strings.Cut(accept, ";")
		if strings.EqualFold(strings.TrimSpace(media), "application/octet-stream") {
			return true
		}
	}
	return false
}

// secure sets the headers of every response: no caching, no framing, no scripts, no referrer.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy(""))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "private, no-store")
	h.Set("X-Robots-Tag", "noindex, nofollow")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// policy returns the page's Content-Security-Policy. origin is that of the storage, to which the form
// may redirect: browsers apply form-action to redirects too.
func policy(origin string) string {
	return "default-src 'none'; style-src '" + styleHash + "'; form-action 'self'" + origin + "; frame-ancestors 'none'; base-uri 'none'"
}

// client returns the identity of a client: the digest for Download.Client, its address and user agent.
func (h *Handler) client(r *http.Request) (digest []byte, address, agent string) {
	address, agent = h.config.Address(r), clean(r.UserAgent())
	if net.ParseIP(strings.SplitN(address, "%", 2)[0]) == nil {
		address = ""
	}
	sum := sha256.Sum256([]byte(address + "\x00" + agent))
	return sum[:], address, agent
}

// clean returns a header as one short line.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > 200 {
		s = string(runes[:200])
	}
	return s
}

// Disposition returns the Content-Disposition (RFC 6266) of a file. A name has ASCII letters, digits,
// ".", "_" and "-" only, so it needs no encoding.
func Disposition(name string) string { return fmt.Sprintf("attachment; filename=%q", name) }
