package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Difference is one setting of a stream or consumer that is not as required.
type Difference struct {
	Object string // "BACKUP_REQUESTS" or "BACKUP_REQUESTS/export-worker"
	Field  string // empty when the object is missing
	Want   string
	Got    string
}

// DriftError lists all differences between the broker and the required topology, and why they could
// not be removed.
type DriftError struct {
	Differences []Difference
	Causes      []error

	inspecting bool // Inspect: nothing is changed
	conn       *nats.Conn
}

func (e *DriftError) Error() string {
	lines := make([]string, 0, len(e.Differences))
	for _, d := range e.Differences {
		if d.Field == "" {
			lines = append(lines, d.Object+" is missing")
			continue
		}
		lines = append(lines, fmt.Sprintf("%s: %s is %s, needed is %s", d.Object, d.Field, d.Got, d.Want))
	}
	text := "broker is not set up as needed: " + strings.Join(lines, "; ")
	if causes := e.causes(); len(causes) > 0 {
		text += " (" + strings.Join(causes, "; ") + ")"
	}
	return text
}

// causes returns the text of each cause once, with advice.
func (e *DriftError) causes() []string {
	var out []string
	for _, cause := range e.Causes {
		text := strings.ReplaceAll(cause.Error(), "\n", "; ")
		if api, ok := errors.AsType[*jetstream.APIError](cause); ok && limits[api.ErrorCode] != "" {
			text += ": " + limits[api.ErrorCode]
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// limits holds the advice for each limit of an account or its server, by nats-server's error code.
var limits = map[jetstream.ErrorCode]string{
	10002: "raise the account's max_file, or keep outcomes and events for a shorter time",
	10026: "raise the account's max_consumers, which counts for each stream",
	10027: "raise the account's max_streams",
	10047: "NATS_STREAM_MAX_BYTES is reserved for each stream: lower it, or raise max_file of the account or max_file_store of the server",
	10113: "set NATS_STREAM_MAX_BYTES",
	10121: "set NATS_MAX_ACK_PENDING to that limit",
	10122: "lower NATS_STREAM_MAX_BYTES to the account's disk_max_stream_bytes",
}

// Missing reports whether the only differences are missing streams or consumers.
func (e *DriftError) Missing() bool {
	return !slices.ContainsFunc(e.Differences, func(d Difference) bool { return d.Field != "" })
}

// Unwrap returns the causes.
func (e *DriftError) Unwrap() []error { return e.Causes }

// step makes one change and reports whether it was made. A change that is refused gets no answer, only
// an error on the connection. After a refusal or no answer in time step makes no further change.
func (e *DriftError) step(ctx context.Context, change func(context.Context) error) bool {
	if e.inspecting {
		return false
	}
	for _, cause := range e.Causes {
		if errors.Is(cause, context.DeadlineExceeded) || errors.Is(cause, nats.ErrPermissionViolation) {
			return false
		}
	}
	ctx, cancel := context.WithTimeout(ctx, provisionWait)
	defer cancel()
	ctx, stop := untilRefused(ctx, e.conn)
	defer stop()
	err := change(ctx)
	if refused := context.Cause(ctx); err != nil && errors.Is(refused, nats.ErrPermissionViolation) {
		err = refused
	}
	if err != nil {
		e.Causes = append(e.Causes, err)
	}
	return err == nil
}

// untilRefused returns a context that ends when the broker refuses a request to JetStream on nc.
func untilRefused(ctx context.Context, nc *nats.Conn) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	before := nc.LastError()
	go func() {
		look := time.NewTicker(20 * time.Millisecond)
		defer look.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
			}
			err := nc.LastError()
			if err != before && errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `Publish to "$JS.API.`) { //nolint:errorlint // each refusal is an error of its own
				cancel(err)
				return
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}
