package handover

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"time"

	"github.com/dustin/go-humanize"
)

//go:embed page.html
var pageText string

//go:embed refused.html
var refusedText string

//go:embed style.css
var style string

var (
	pageTemplate = template.Must(template.New("page").Parse(pageText))
	refusal      = rendered(template.Must(template.New("refused").Parse(refusedText)))
	// styleHash allows only the page's own style in its Content-Security-Policy.
	styleHash = func() string {
		sum := sha256.Sum256([]byte(style))
		return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
	}()
)

func rendered(t *template.Template) []byte {
	var b bytes.Buffer
	if err := t.Execute(&b, map[string]any{"Style": template.CSS(style)}); err != nil { //nolint:gosec // our own file
		panic("handover: " + err.Error()) // the template and its data are part of the program
	}
	return b.Bytes()
}

// page writes the page of a link. It has no script; its form downloads the file.
func (h *Handler) page(w http.ResponseWriter, r *http.Request, link Link, f File) {
	var b bytes.Buffer
	left := ""
	if link.MaxDownloads > 0 {
		left = humanize.Comma(int64(link.MaxDownloads - link.Downloads))
	}
	err := pageTemplate.Execute(&b, map[string]any{
		"Style": template.CSS(style), "Project": f.Project, "Name": f.Name(), "Size": humanize.IBytes(uint64(max(f.Bytes, 0))), //nolint:gosec // our own file
		"SHA256": f.SHA256, "Expires": link.ExpiresAt.UTC().Format("2 January 2006, 15:04 UTC"), "Left": left, "Encrypted": f.Encrypted, "Recipients": f.Recipients, "Receipt": receiptPath(r, f),
	})
	if err != nil {
		h.config.Log.ErrorContext(r.Context(), "landing page not rendered", "error", err)
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	if link.MaxDownloads == 0 {
		target, err := h.config.Files.Presign(r.Context(), f, presigned)
		if u, parseErr := url.Parse(target); err == nil && parseErr == nil && u.Host != "" {
			w.Header().Set("Content-Security-Policy", policy(" "+u.Scheme+"://"+u.Host))
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // fails only when the client has gone
}

// receiptPath returns the receipt's path relative to the page; empty if there is none.
func receiptPath(r *http.Request, f File) string {
	if f.Receipt == nil {
		return ""
	}
	return path.Base(r.URL.Path) + "/receipt"
}

// noteTimeout bounds the recording of a download after the end of its connection.
const noteTimeout = 10 * time.Second

func withoutCancel(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
}
