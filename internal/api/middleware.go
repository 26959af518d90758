package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/pgcourier/pgcourier/events/codes"
)

// answerTimeout bounds a response that does not stream, the reading of the request's body included.
const answerTimeout = time.Minute

// guard wraps all routes. It turns panics into problems, bounds bodies, and logs each call with the
// route's pattern. It never logs the token, the query or the path, which may contain a token.
func (a *API) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		seen := &observed{}
		outer := r
		r = r.WithContext(context.WithValue(r.Context(), observedKey{}, seen))
		out := &responseWriter{ResponseWriter: w}
		// Disconnects a caller that does not read. Streams set their own deadlines.
		_ = http.NewResponseController(w).SetWriteDeadline(begun.Add(answerTimeout))
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		if len(r.TransferEncoding) > 0 {
			// The request may have had Content-Length too, which net/http does not report. The next bytes
			// on the connection could then be a smuggled request, so it is closed (RFC 9112, 6.1).
			h.Set("Connection", "close")
		}
		if r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody+2) // more, so that the operation itself can refuse it
		}
		defer func() {
			if fault := recover(); fault != nil {
				if fault == http.ErrAbortHandler { //nolint:errorlint,err113 // net/http compares it like this
					panic(fault)
				}
				p := a.internal(r.Context(), slog.String("panic", fmt.Sprint(fault)), slog.String("stack", string(debug.Stack())))
				if out.status == 0 {
					writeProblem(out, p)
				}
			}
			took := time.Since(begun)
			outer.Pattern = r.Pattern // for the outer middleware
			route := r.Pattern
			if route == "" {
				route = "none"
			}
			a.Observe(route, out.code(), took)
			a.Log.InfoContext(r.Context(), "call", "method", r.Method, "route", route, "status", out.code(), "bytes", out.bytes,
				"duration", took, "subject", seen.subject, "address", a.address(r))
		}()
		next.ServeHTTP(out, r)
	})
}

// bodyTimeout bounds the reading of a body.
const bodyTimeout = 5 * time.Second

// readBody is the middleware of an operation with a body. It reads the body before the library, which
// would answer with 500 to a malformed or truncated body.
func readBody(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // on failure the server's timeout applies
	b, err := io.ReadAll(r.Body)
	if err == nil {
		r.Body = io.NopCloser(bytes.NewReader(b))
		next(ctx)
		return
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		writeProblem(w, errTooLarge)
		return
	}
	if slow, ok := errors.AsType[net.Error](err); ok && slow.Timeout() {
		writeProblem(w, problem(http.StatusRequestTimeout, codes.InvalidRequest, "the body came too slowly"))
		return
	}
	writeProblem(w, problem(http.StatusBadRequest, codes.InvalidRequest, "the body is malformed or breaks off"))
}

type observedKey struct{}

// observed holds facts about a call for the log.
type observed struct{ subject string }

// note sets the caller for the log.
func note(ctx context.Context, subject string) {
	if o, ok := ctx.Value(observedKey{}).(*observed); ok {
		o.subject = subject
	}
}

// responseWriter counts the written bytes.
type responseWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *responseWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *responseWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

func (w *responseWriter) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// Unwrap returns the wrapped writer, for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
