package handover

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// presigned is how long a presigned URL is valid. The transfer must begin within that time.
const presigned = 5 * time.Minute

// send sends a file, or the requested part of it. It returns errors before the first byte only. A later
// error aborts the connection, so that a client never takes a part for the whole file.
func (h *Handler) send(w http.ResponseWriter, r *http.Request, f File, d Download, link Link) error {
	from, to, status := wanted(r, f)
	etag := `"` + f.SHA256 + `"`
	header := w.Header()
	header.Set("Accept-Ranges", "bytes")
	header.Set("Etag", etag)
	if status == http.StatusRequestedRangeNotSatisfiable {
		header.Set("Content-Range", "bytes */"+strconv.FormatInt(f.Bytes, 10))
		http.Error(w, "the file has no such range", status)
		return nil
	}
	d.Client, d.Address, d.UserAgent = h.client(r)
	d.Resume = r.Header.Get("Range") != "" && status == http.StatusPartialContent
	if r.Method == http.MethodHead {
		describe(header, f, from, to, status)
		w.WriteHeader(status)
		return nil
	}
	if link.ID == "" || link.MaxDownloads == 0 {
		if sent, err := h.redirect(w, r, f, d); sent || err != nil {
			if err == nil {
				h.observe(link, TransferRedirected, 0)
			}
			return err
		}
	}
	body, err := h.config.Files.Open(r.Context(), f, from)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // only read from
	id, err := h.config.Records.BeginDownload(r.Context(), d)
	if err != nil {
		return err
	}
	describe(header, f, from, to, status)
	w.WriteHeader(status)
	sent, err := h.copy(w, body, to-from, to == f.Bytes)
	ctx, cancel := withoutCancel(r.Context())
	defer cancel()
	if noteErr := h.config.Records.SentBytes(ctx, id, sent, f.Bytes, false); noteErr != nil {
		h.config.Log.WarnContext(ctx, "bytes of a download not noted", "download", id, "error", noteErr)
	}
	h.observe(link, transferResult(err), sent)
	if err != nil {
		h.config.Log.WarnContext(ctx, "download cut off", "project_id", f.Project, "request_id", f.Request, "download", id, "bytes", sent, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (h *Handler) observe(link Link, result TransferResult, bytes int64) {
	h.config.Observe(Transfer{ByLink: link.ID != "", Result: result, Bytes: bytes})
}

func transferResult(err error) TransferResult {
	if err != nil {
		return TransferCut
	}
	return TransferSent
}

// redirect redirects the client to the storage, if possible.
func (h *Handler) redirect(w http.ResponseWriter, r *http.Request, f File, d Download) (bool, error) {
	url, err := h.config.Files.Presign(r.Context(), f, presigned)
	if err != nil || url == "" {
		return false, err
	}
	d.Redirected, d.Resume = true, false
	id, err := h.config.Records.BeginDownload(r.Context(), d)
	if err != nil {
		return false, err
	}
	if err := h.config.Records.SentBytes(r.Context(), id, 0, f.Bytes, true); err != nil {
		return false, err
	}
	w.Header().Set("Location", url)
	w.WriteHeader(http.StatusSeeOther)
	return true, nil
}

// copy writes n bytes of body. It writes the last bytes of a file only after the reader has checked the
// whole file, so that a client never receives a damaged file completely.
func (h *Handler) copy(w http.ResponseWriter, body io.Reader, n int64, toEnd bool) (sent int64, err error) {
	control := http.NewResponseController(w)
	pace := newPace(h.fast, n)
	defer pace.end()
	for sent < n {
		buf := pace.buffer()
		want := min(int64(len(buf)), n-sent)
		got, err := io.ReadFull(body, buf[:want])
		if err == nil && toEnd && sent+want == n {
			// One more read: at the end of the file it returns the result of the check.
			if extra, endErr := body.Read(make([]byte, 1)); extra > 0 || endErr == nil || !errors.Is(endErr, io.EOF) {
				return sent, errors.Join(errors.New("the stored file does not end where it should, or is damaged"), endErr)
			}
		}
		if err != nil {
			return sent, err
		}
		// A client that reads nothing for Stall is disconnected.
		begun := time.Now()
		if err := control.SetWriteDeadline(begun.Add(h.config.Stall)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return sent, err
		}
		m, err := w.Write(buf[:got])
		sent += int64(m)
		if err != nil {
			return sent, err
		}
		pace.wrote(m, begun)
	}
	return sent, control.Flush()
}

// describe sets the headers of a file or a part of it.
func describe(h http.Header, f File, from, to int64, status int) {
	h.Set("Content-Type", f.ContentType())
	h.Set("Content-Disposition", Disposition(f.Name()))
	h.Set("Content-Length", strconv.FormatInt(to-from, 10))
	if sum, err := hex.DecodeString(f.SHA256); err == nil {
		text := base64.StdEncoding.EncodeToString(sum)
		h.Set("Repr-Digest", "sha-256=:"+text+":") // RFC 9530
		h.Set("Digest", "SHA-256="+text)           // RFC 3230
	}
	if status == http.StatusPartialContent {
		h.Set("Content-Range", "bytes "+strconv.FormatInt(from, 10)+"-"+strconv.FormatInt(to-1, 10)+"/"+strconv.FormatInt(f.Bytes, 10))
	}
}

// wanted returns the requested range and the status of the response. Several ranges, other units and
// malformed ranges give the whole file, as RFC 9110 allows.
func wanted(r *http.Request, f File) (from, to int64, status int) {
	spec, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	condition := r.Header.Get("If-Range")
	if !ok || strings.Contains(spec, ",") || condition != "" && condition != `"`+f.SHA256+`"` {
		return 0, f.Bytes, http.StatusOK
	}
	first, last, ok := strings.Cut(strings.TrimSpace(spec), "-")
	a, okA := position(first)
	b, okB := position(last)
	switch {
	case !ok || first != "" && !okA || last != "" && !okB || first == "" && last == "":
		return 0, f.Bytes, http.StatusOK
	case first == "": // the last b bytes
		if b == 0 || f.Bytes == 0 {
			return 0, 0, http.StatusRequestedRangeNotSatisfiable
		}
		return max(f.Bytes-b, 0), f.Bytes, http.StatusPartialContent
	case last != "" && b < a:
		return 0, f.Bytes, http.StatusOK
	case a >= f.Bytes:
		return 0, 0, http.StatusRequestedRangeNotSatisfiable
	case last == "":
		return a, f.Bytes, http.StatusPartialContent
	}
	return a, min(b, f.Bytes-1) + 1, http.StatusPartialContent
}

// position reads a byte position.
func position(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil { // more than any file has
		return 1<<63 - 1, true
	}
	return n, true
}
