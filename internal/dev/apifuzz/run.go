package apifuzz

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Token is a bearer token with its project and scopes.
type Token struct {
	Secret  string
	Project string // "*": all
	Scopes  []string
}

// Config configures Run. All fields except Calls are required.
type Config struct {
	Address  string // host:port of the server
	Document *Document
	Tokens   []Token // the first is for all projects and calls
	Seed     uint64
	// Calls bounds the calls of the run. Default: the run ends with its context.
	Calls int
	// Workers is the number of concurrent calls.
	Workers int
}

// Report is the result of a run.
type Report struct {
	Calls    int
	Statuses map[string]int           // by operation and status
	Slowest  map[string]time.Duration // by operation
	Findings []Finding                // the first of each kind
}

// Finding is an answer that the document does not describe.
type Finding struct {
	What, Operation string
	Call, Answer    string // shortened
}

// String returns the finding for people.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s\n  call: %s\n  answer: %s", f.Operation, f.What, f.Call, f.Answer)
}

// callTimeout bounds one call. A slower answer is a finding.
const callTimeout = 30 * time.Second

// Run calls the server until ctx ends or Calls are made. An error means that the server accepts no
// more connections.
func Run(ctx context.Context, c Config) (Report, error) {
	r := &run{Config: c, report: Report{Statuses: map[string]int{}, Slowest: map[string]time.Duration{}}, kinds: map[string]bool{}}
	errs := make([]error, c.Workers)
	var group sync.WaitGroup
	for i := range c.Workers {
		group.Go(func() { errs[i] = r.work(ctx, uint64(i)) }) //nolint:gosec // it counts from 0
	}
	group.Wait()
	return r.report, errors.Join(errs...)
}

type run struct {
	Config

	mu     sync.Mutex
	report Report
	kinds  map[string]bool
	links  []string
}

func (r *run) work(ctx context.Context, number uint64) error {
	g := &generator{document: r.Document, tokens: r.Tokens, rand: rand.New(rand.NewPCG(r.Seed, number))} //nolint:gosec // a seed makes the same calls again
	wire := &wire{address: r.Address}
	defer wire.close()
	for ctx.Err() == nil && r.take(g) {
		c := g.next()
		begun := time.Now()
		a, err := wire.send(context.WithoutCancel(ctx), c) // it ends by itself, or is a finding
		if err := r.note(c, a, time.Since(begun), err); err != nil {
			return err
		}
	}
	return nil
}

// take counts a call and passes the ids known so far to the generator.
func (r *run) take(g *generator) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Calls > 0 && r.report.Calls >= r.Calls {
		return false
	}
	r.report.Calls++
	g.links = slices.Clone(r.links)
	return true
}

func (r *run) note(c call, a answer, took time.Duration, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := "none"
	if c.operation != nil {
		name = c.operation.ID
	}
	r.report.Slowest[name] = max(r.report.Slowest[name], took)
	what := ""
	switch {
	case errors.Is(err, errConnect):
		return err
	case err != nil && c.unread: // the server has closed before it had read all, or read no call
		r.report.Statuses[name+" closed"]++
	case err != nil:
		what = "no answer\n" + err.Error()
	default:
		r.report.Statuses[fmt.Sprintf("%s %d", name, a.status)]++
		what = r.Document.judge(c, a)
	}
	var link struct {
		ID string `json:"link_id"`
	}
	if name == "create-link" && a.status == http.StatusCreated && json.Unmarshal(a.body, &link) == nil && len(r.links) < 50 {
		r.links = append(r.links, link.ID)
	}
	kind := fmt.Sprint(name, a.status, strings.SplitN(what, "\n", 2)[0])
	if what == "" || r.kinds[kind] {
		return nil
	}
	r.kinds[kind] = true
	text := string(c.text)
	for _, t := range r.Tokens {
		text = strings.ReplaceAll(text, t.Secret, "TOKEN("+t.Project+" "+strings.Join(t.Scopes, ",")+")")
	}
	r.report.Findings = append(r.report.Findings, Finding{
		what, name, fmt.Sprintf("%.1500q", text), fmt.Sprintf("%d %v %.1000q", a.status, a.header["Content-Type"], a.body),
	})
	return nil
}

// Summary returns a table of operations and statuses.
func (r Report) Summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d calls, %d findings\n", r.Calls, len(r.Findings))
	for _, k := range slices.Sorted(maps.Keys(r.Statuses)) {
		fmt.Fprintf(&b, "%7d %s\n", r.Statuses[k], k)
	}
	for _, k := range slices.Sorted(maps.Keys(r.Slowest)) {
		fmt.Fprintf(&b, "%7d ms at most: %s\n", r.Slowest[k].Milliseconds(), k)
	}
	return b.String()
}

// errConnect says that the server accepts no connection.
var errConnect = errors.New("the server takes no connection")

// wire is a connection that is reused until the server closes it.
type wire struct {
	address string
	conn    net.Conn
	reader  *bufio.Reader
}

func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close() // nothing is expected of it
		w.conn = nil
	}
}

func (w *wire) send(ctx context.Context, c call) (answer, error) {
	if w.conn == nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.address)
		if err != nil {
			return answer{}, fmt.Errorf("%w: %w", errConnect, err)
		}
		w.conn, w.reader = conn, bufio.NewReader(conn)
	}
	if err := w.conn.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		return answer{}, err
	}
	// A server may answer before it has read everything. Writing then fails, but there is an answer.
	written := make(chan error, 1)
	conn := w.conn
	go func() {
		_, err := conn.Write(c.text)
		written <- err
	}()
	a, keep, err := w.receive(c)
	if err != nil || !keep || c.odd {
		w.close()
	}
	if writeErr := <-written; writeErr != nil {
		w.close()
	}
	return a, err
}

func (w *wire) receive(c call) (a answer, keep bool, err error) {
	method := http.MethodGet
	if c.head {
		method = http.MethodHead
	}
	res, err := http.ReadResponse(w.reader, &http.Request{Method: method})
	for err == nil && res.StatusCode < 200 { // 100 Continue
		res, err = http.ReadResponse(w.reader, &http.Request{Method: method})
	}
	if err != nil {
		return a, false, err
	}
	defer func() { _ = res.Body.Close() }()
	a = answer{status: res.StatusCode, header: res.Header}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		w.close() // it has no end
		return a, false, nil
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, res.Body); err != nil {
		return a, false, fmt.Errorf("the body of %s: %w", res.Status, err)
	}
	a.body = b.Bytes()
	return a, !res.Close, nil
}
