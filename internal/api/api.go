package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/api/issuer"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/replay"
)

// Config configures an API. Fields without a default are required.
type Config struct {
	Ledger    *ledger.Ledger
	Client    *events.Client
	JetStream jetstream.JetStream
	Queue     *broker.RequestQueue
	// RestoreQueue holds the waiting requests for restores.
	RestoreQueue *broker.RestoreQueue
	Planner      *replay.Planner
	// OutcomeBody returns the body of the outcome's event, byte for byte.
	OutcomeBody func(export.Outcome) ([]byte, error)
	// RestoreOutcomeBody is OutcomeBody for restores.
	RestoreOutcomeBody func(export.Outcome) ([]byte, error)
	// Version is the version of the program, for the OpenAPI document. Default: "dev".
	Version string
	// PublicURL is the URL of the API for callers. Default: none, links are relative.
	PublicURL string
	// BehindProxy uses the last entry of X-Forwarded-For as the caller's address.
	BehindProxy bool
	// Rate bounds the calls of each caller in a second, with bursts of twice as many. Default: 50.
	Rate float64
	// Issuer verifies JWTs. Default: none, tokens only.
	Issuer *issuer.Issuer
	// Trace returns the span of a call as W3C Trace Context, which replaces the caller's headers in
	// events. Default: the caller's headers are used.
	Trace func(ctx context.Context) (traceparent, tracestate string)
	// Span starts the span of a call over NATS, with the call's name and headers. The function that it
	// returns ends the span with the status of the answer. Default: no spans.
	Span func(ctx context.Context, name string, header map[string][]string) (context.Context, func(status int))
	// Handover serves files, links and receipts. Default: none.
	Handover *Handover
	// Notices are the notifications. Default: none.
	Notices Notices
	// Mounts are additional handlers by their mux pattern. They must authenticate callers, with
	// Authorize or by other means.
	Mounts map[string]http.Handler
	// Observe is called for each call with the route's pattern, the status and the duration. Default:
	// none.
	Observe func(route string, status int, took time.Duration)
	Log     *slog.Logger
}

// API answers calls over HTTP and NATS. It is safe for concurrent use. The caller of New closes it.
type API struct {
	Config
	feed           *feed
	restores       *ledger.Restores
	restoreStreams restoreStreams
	limits         *limits
	scopes         map[string][]access.Scope // by the name of the operation
	noting         sync.Map                  // ids of the tokens that noteUse records now
	mux            *http.ServeMux
	handler        http.Handler
	document       []byte
}

// maxBody is the largest body, the same as that of a request on the broker.
const maxBody = events.MaxRequestBytes

// New returns an API. It subscribes to the events on the broker.
func New(c Config) (*API, error) {
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Rate == 0 {
		c.Rate = 50
	}
	if c.Observe == nil {
		c.Observe = func(string, int, time.Duration) {}
	}
	if c.Span == nil {
		c.Span = func(ctx context.Context, _ string, _ map[string][]string) (context.Context, func(int)) {
			return ctx, func(int) {}
		}
	}
	mux := http.NewServeMux()
	a := &API{Config: c, restores: c.Ledger.Restores(), limits: newLimits(c.Rate), mux: mux}
	operations := a.register(mux)
	var err error
	if a.document, err = document(operations.OpenAPI()); err != nil {
		return nil, err
	}
	mux.HandleFunc("GET /v1/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(a.document) // fails only when the caller has gone
	})
	for pattern, h := range c.Mounts {
		mux.Handle(pattern, h)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { writeProblem(w, errNoRoute) })
	a.handler = a.guard(mux)
	if a.feed, err = newFeed(c.JetStream, c.Log); err != nil {
		return nil, err
	}
	return a, nil
}

// Mount adds a handler for paths that no operation has, such as the console's. The handler must
// authenticate callers. Mount must be called before the first call is served.
func (a *API) Mount(pattern string, h http.Handler) { a.mux.Handle(pattern, h) }

// Handler returns the handler of all routes.
func (a *API) Handler() http.Handler { return a.handler }

// Drain ends the calls that follow events.
func (a *API) Drain() { a.feed.drain() }

// Close releases the subscription.
func (a *API) Close() error {
	a.feed.close()
	return nil
}

// register registers every operation on mux.
func (a *API) register(mux *http.ServeMux) huma.API {
	a.scopes = pageScopes()
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	operations := humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "pgcourier", Version: a.Version,
				Description: "Asks for exports of PostgreSQL projects, follows and fetches them. Errors are RFC 9457 problems.",
			},
			Components: &huma.Components{
				Schemas: registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{bearer: {
					Type: "http", Scheme: "bearer", Description: "A token of `pgcourier token create`, or a JWT of the configured issuer.",
				}},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{toProblem},
	})
	a.registerExports(operations)
	a.registerChanges(operations)
	a.registerRestores(operations)
	a.registerSchedules(operations)
	a.registerEvents(operations)
	a.registerLinks(operations)
	a.registerNotices(operations)
	a.registerTokens(operations)
	a.registerWhoami(operations)
	return operations
}

// bearer is the name of the security scheme.
const bearer = "bearer"

// operation describes an operation of a project, for callers with one of the scopes.
func (a *API) operation(id, method, path, summary, description string, scopes ...access.Scope) huma.Operation {
	a.scopes[id] = scopes
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	if len(names) > 0 {
		description = strings.TrimSpace(description + " Scope: " + strings.Join(names, " or ") + ".")
	}
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, Description: description,
		Security: []map[string][]string{{bearer: names}}, Middlewares: huma.Middlewares{a.authorize(scopes)},
		MaxBodyBytes: maxBody + 1, Responses: problems(),
	}
}

// problems returns the response of every operation for errors.
func problems() map[string]*huma.Response {
	return map[string]*huma.Response{"default": {
		Description: "A problem. `code` says which, in one word.",
		Content:     map[string]*huma.MediaType{problemMedia: {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}}},
	}}
}

// path returns the public URL of a path within the API.
func (a *API) path(format string, args ...any) string {
	return strings.TrimSuffix(a.PublicURL, "/") + fmt.Sprintf(format, args...)
}
