package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/dev/faketool"
)

// badCase is an entry of testdata/bad-input: a message and its expected result. In body and subject
// {{id}} stands for an id of the case.
type badCase struct {
	Name    string      `json:"name"`
	Why     string      `json:"why"`
	Subject string      `json:"subject"`
	Headers [][2]string `json:"headers"` // a name may be repeated
	// RawHeader is a header block byte for byte, as no client library would send it.
	RawHeader string `json:"raw_header"`
	// Body, Base64 or Generate: text, raw bytes, or repeated text.
	Body     string `json:"body"`
	Base64   []byte `json:"base64"`
	Generate *struct {
		Head, Unit, Tail string
		Times            int // negative: repeated until the whole has so many bytes
	} `json:"generate"`
	// Before is a body that is published first and must complete.
	Before string `json:"before"`
	// Plant is a path below the storage folder that is replaced by a link to a folder outside.
	Plant string `json:"plant"`
	// Owns is the schema of the case's own project. Beside are others that a pattern would match.
	// Schemas is what is exported, if that is not the project's only schema.
	Owns    string   `json:"owns"`
	Beside  []string `json:"beside"`
	Schemas []string `json:"schemas"`
	Expect  struct {
		Verdict  string `json:"verdict"`
		Code     string `json:"code"`     // of a failure
		Project  string `json:"project"`  // of a failure
		OwnID    bool   `json:"own_id"`   // whether the failure bears the case's id
		Attempts int    `json:"attempts"` // of a failure
		// Transient and MostDumps are for faults that are not caused by the request. The request is
		// tried again, and pg_dump may be started as often.
		Transient bool   `json:"transient"`
		MostDumps int    `json:"most_dumps"`
		Error     string `json:"error"`  // part of the publisher's error
		Result    string `json:"result"` // of an answer
	} `json:"expect"`
}

// The verdicts.
const (
	failed                = "failed"
	accepted              = "accepted"
	refusedAtThePublisher = "refused at the publisher"
	nothingMore           = "nothing more" // the first outcome is the only one
	answered              = "answered"
)

// selected is about the number of cases of each family in a run without -bad-input, in addition to
// the first of each verdict.
const selected = 3

// readCases reads the catalogue, or some of each family.
func readCases(t *testing.T, all bool) []badCase {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "testdata", "bad-input", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the catalogue is %q, %v", files, err)
	}
	var out []badCase
	seen, verdicts := map[string]bool{}, map[string]bool{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var family struct {
			About string    `json:"about"`
			Cases []badCase `json:"cases"`
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&family); err != nil || family.About == "" || len(family.Cases) == 0 {
			t.Fatalf("%s: %v", file, err)
		}
		for i, c := range family.Cases {
			if c.Name == "" || c.Why == "" || seen[c.Name] || !slices.Contains([]string{failed, accepted, refusedAtThePublisher, nothingMore, answered}, c.Expect.Verdict) {
				t.Errorf("%s: the case %q is incomplete or repeated", file, c.Name)
			}
			seen[c.Name] = true
			verdict := c.Expect.Verdict + c.Expect.Code
			if step := max(len(family.Cases)/selected, 1); all || i%step == 0 || !verdicts[verdict] {
				out = append(out, c)
			}
			verdicts[verdict] = true
		}
	}
	return out
}

// bytes returns the case's body.
func (c badCase) bytes(t *testing.T, id string) []byte {
	t.Helper()
	body := c.Body
	if g := c.Generate; g != nil {
		head, tail := strings.ReplaceAll(g.Head, "{{id}}", id), g.Tail
		times := g.Times
		if times < 0 {
			times = (-times - len(head) - len(tail)) / len(g.Unit)
		}
		var b strings.Builder
		for n := range times {
			b.WriteString(strings.ReplaceAll(g.Unit, "{{n}}", strconv.Itoa(n)))
		}
		body = head + b.String() + tail
	}
	if c.Base64 != nil {
		return c.Base64
	}
	return []byte(strings.ReplaceAll(body, "{{id}}", id))
}

// send publishes a case and waits for the stream's answer.
func (c *catalogue) send(one badCase, body []byte) error {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	defer cancel()
	if one.RawHeader != "" {
		return c.raw.publish(ctx, one.Subject, one.RawHeader, body)
	}
	m := &nats.Msg{Subject: one.Subject, Data: body}
	if len(one.Headers) > 0 {
		m.Header = nats.Header{}
	}
	for _, h := range one.Headers {
		m.Header[h[0]] = append(m.Header[h[0]], h[1]) // as in the case
	}
	_, err := c.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	return err
}

// ask sends a case as a request over plain NATS.
func (c *catalogue) ask(one badCase, id string, body []byte) (string, error) {
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	defer cancel()
	var m *nats.Msg
	var err error
	eventually(c.t, "a worker listens to cancels", func() bool {
		m, err = c.nc.RequestWithContext(ctx, strings.ReplaceAll(one.Subject, "{{id}}", id), body)
		return !errors.Is(err, nats.ErrNoResponders) // the worker has just begun to serve
	})
	if err != nil {
		return "", fmt.Errorf("ask: %w", err)
	}
	reply, err := events.DecodeCancelReply(events.Message{Body: m.Data})
	if err != nil {
		return "", fmt.Errorf("the answer %s: %w", m.Data, err)
	}
	if string(reply.Result) != one.Expect.Result {
		return "", fmt.Errorf("answered %+v", reply)
	}
	return fmt.Sprintf("%s: %s: %s", answered, reply.Result, reply.Message), nil
}

// settledFor waits until nothing is queued for a project.
func (c *catalogue) settledFor(subject string) {
	c.t.Helper()
	s, err := c.js.Stream(c.ctx, events.StreamRequests)
	if err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, subject+" is empty", func() bool {
		info, err := s.Info(c.ctx, jetstream.WithSubjectFilter(subject))
		return err == nil && info.State.Subjects[subject] == 0
	})
}

// rawConn publishes bytes that no client library writes, on the connection of a library.
type rawConn struct {
	nc    *nats.Conn
	conn  net.Conn
	inbox string
	acks  *nats.Subscription
}

// Dial implements nats.CustomDialer.
func (r *rawConn) Dial(network, address string) (conn net.Conn, err error) {
	r.conn, err = net.Dial(network, address)
	return r.conn, err
}

func (c *catalogue) rawConnection() *rawConn {
	c.t.Helper()
	// As a gateway: a worker must handle everything that it may send.
	key, err := nats.NkeyOptionFromSeed(server.KeyFile(c.keys, server.UserGateway))
	if err != nil {
		c.t.Fatal(err)
	}
	r := &rawConn{}
	r.nc, err = nats.Connect(c.broker.ClientURL(), key, nats.CustomInboxPrefix(server.UserGateway.InboxPrefix()), nats.SetCustomDialer(r), nats.NoReconnect())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(r.nc.Close)
	r.inbox = r.nc.NewInbox()
	if r.acks, err = r.nc.SubscribeSync(r.inbox); err != nil {
		c.t.Fatal(err)
	}
	return r
}

// publish writes one HPUB and waits for the stream's answer. Nothing else is written meanwhile: the
// library's own pings are minutes apart.
func (r *rawConn) publish(ctx context.Context, subject, header string, body []byte) error {
	if err := r.nc.FlushWithContext(ctx); err != nil {
		return err
	}
	message := fmt.Appendf(nil, "HPUB %s %s %d %d\r\n%s%s\r\n", subject, r.inbox, len(header), len(header)+len(body), header, body)
	if _, err := r.conn.Write(message); err != nil {
		return err
	}
	m, err := r.acks.NextMsgWithContext(ctx)
	if err != nil {
		return errors.Join(err, r.nc.LastError())
	}
	var ack struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return fmt.Errorf("the stream answered %q", m.Data)
	}
	if ack.Error != nil {
		return errors.New(ack.Error.Description)
	}
	return nil
}

// recorder is a folder for PG_BIN_DIR with tools that record every start with all arguments.
type recorder struct {
	t     *testing.T
	dir   string
	first int // records before begin
}

// endOfRecord follows the arguments of one start. No argument is equal to it.
const endOfRecord = "\x01"

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{t: t, dir: t.TempDir()}
	for _, tool := range []string{"pg_dump", "pg_restore", "psql"} {
		text := fmt.Sprintf("#!/bin/bash\nPATH=/usr/bin:/bin\nprintf '%%s\\0' %s \"$@\" $'\\x01' >>%s/executed\nexec %s/%s \"$@\"\n", tool, r.dir, cluster.BinDir, tool)
		faketool.Install(t, filepath.Join(r.dir, tool), text)
	}
	return r
}

// records returns the starts since begin.
func (r *recorder) records() [][]string {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, "executed"))
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	var out [][]string
	for text := range strings.SplitSeq(string(b), endOfRecord+"\x00") {
		if text != "" {
			out = append(out, strings.Split(strings.TrimSuffix(text, "\x00"), "\x00"))
		}
	}
	return out[r.first:]
}

// begin leaves out the earlier starts: the worker asks its tools for their version.
func (r *recorder) begin() { r.first = len(r.records()) }

// ofBystander reports whether a start is pg_dump for the bystander, with no other schema.
func ofBystander(record []string) bool {
	var schemas []string
	for _, arg := range record {
		if strings.HasPrefix(arg, "--schema=") {
			schemas = append(schemas, arg)
		}
	}
	return record[0] == "pg_dump" && slices.Equal(schemas, []string{`--schema="tenant_` + bystander + `"`})
}

// bystanders counts the bystander's starts.
func (r *recorder) bystanders() int {
	return len(r.records()) - r.others()
}

// others counts all starts except the bystander's.
func (r *recorder) others() int {
	return len(slices.DeleteFunc(r.records(), ofBystander))
}

// last returns the newest start that is not the bystander's.
func (r *recorder) last() []string {
	others := slices.DeleteFunc(r.records(), ofBystander)
	return others[len(others)-1]
}
