package telegramtest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Kind is a kind of fault.
type Kind int

// The faults.
const (
	// Reset drops the connection: of an upload or a download after After bytes, of any
	// other call at once.
	Reset Kind = iota + 1
	// LoseReply carries out the call and drops the connection instead of answering.
	LoseReply
	// Late carries out the call and answers when Gate is closed.
	Late
	// BadGateway answers 502 in HTML.
	BadGateway
	// EarlyTooLarge answers 413 in HTML without reading the request.
	EarlyTooLarge
	// TooManyRequests answers 429 with RetryAfter, whatever the pace.
	TooManyRequests
	// HTMLFlood answers 429 in HTML, without a time.
	HTMLFlood
	// HTMLSuccess answers 200 with a page, as a captive portal does.
	HTMLSuccess
	// Redirect answers 302 to Target.
	Redirect
	// Echo answers 400 with the request's own path, which holds the token.
	Echo
	// Hang does not answer until the client or the server ends.
	Hang
	// Short ends a download after After bytes as if the file were no longer.
	Short
	// Flip flips a bit of a download's byte at After.
	Flip
	// Says answers Code with the field Says, and does nothing.
	Says
)

// Fault is one injected fault.
type Fault struct {
	Kind       Kind
	Method     string // the call, or "download"; empty: any
	Skip       int    // calls of that method to let pass first
	Times      int    // how often; 0: once; -1: from now on
	After      int64  // bytes
	RetryAfter time.Duration
	Target     string
	Code       int
	Says       string
	Gate       <-chan struct{}
}

// Inject adds a fault. Faults apply in the order of their injection, one to a request.
func (s *Server) Inject(f Fault) {
	if f.Times == 0 {
		f.Times = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Heal removes all faults.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// fault returns the fault of a request, if any, and counts the request.
func (s *Server) fault(method string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Requests[method]++
	for _, f := range s.faults {
		if f.Times == 0 || f.Method != "" && f.Method != method {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Times > 0 {
			f.Times--
		}
		return *f
	}
	return Fault{}
}

// early applies the faults that do not depend on the request's contents. It reports whether it did.
func (s *Server) early(w http.ResponseWriter, r *http.Request, f Fault) bool {
	switch f.Kind {
	case BadGateway:
		page(w, http.StatusBadGateway)
	case EarlyTooLarge:
		page(w, http.StatusRequestEntityTooLarge)
	case HTMLFlood:
		page(w, http.StatusTooManyRequests)
	case HTMLSuccess:
		page(w, http.StatusOK)
	case TooManyRequests:
		flood(f.RetryAfter).write(w)
	case Says:
		failure(f.Code, f.Says).write(w)
	case Redirect:
		http.Redirect(w, r, f.Target, http.StatusFound)
	case Echo:
		failure(http.StatusBadRequest, "Bad Request: cannot serve "+r.URL.Path).write(w)
	case Hang:
		_, _ = io.Copy(io.Discard, r.Body) // until then the client's end is not noticed
		select {
		case <-r.Context().Done():
		case <-s.quit:
		}
		drop(w)
	case Reset:
		_, _ = io.CopyN(io.Discard, r.Body, f.After) // up to where it breaks
		drop(w)
	default:
		return false
	}
	return true
}

// page answers in HTML, as the proxy in front of the Bot API does.
func page(w http.ResponseWriter, code int) {
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Connection", "close")
	w.WriteHeader(code)
	text := fmt.Sprintf("%d %s", code, http.StatusText(code))
	_, _ = fmt.Fprintf(w, "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n</body>\r\n</html>\r\n", text, text)
}

// drop resets the connection.
func drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // cannot be taken over any more: abort says the same
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a reset instead of an orderly end
	}
	_ = conn.Close()
}
