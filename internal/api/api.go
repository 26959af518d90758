package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
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

// Config is what an API works with. All but the fields with a default are required.
type Config struct {
	Ledger    *ledger.Ledger
	Client    *events.Client
	JetStream jetstream.JetStream
	Queue     *broker.RequestQueue
	Planner   *replay.Planner
	// OutcomeBody returns the body of the event that announces an outcome, byte for byte.
	OutcomeBody func(export.Outcome) ([]byte, error)
	// Version is the program's, for the OpenAPI document. Default: "dev".
	Version string
	// PublicURL is the address at which callers reach the API. Default: none, links are relative.
	PublicURL string
	// BehindProxy takes the caller's address from X-Forwarded-For, the last entry.
	BehindProxy bool
	// Rate bounds the calls of each caller in a second; it may make twice as many at once.
	// Default: 50.
	Rate float64
	// Issuer makes grants of JWTs. Default: there are tokens only.
	Issuer *issuer.Issuer
	// Trace returns the span of a call as W3C Trace Context, in place of the caller's own headers.
	// Default: the headers are carried on as they are.
	Trace func(ctx context.Context) (traceparent, tracestate string)
	// Handover gives exports to their receivers. Default: nothing does.
	Handover *Handover
	// Mounts are further handlers by their mux pattern. They authenticate callers by themselves,
	// through Authorize or by other means.
	Mounts map[string]http.Handler
	// Observe is told of each call: the route's pattern, the status and how long it took. Default:
	// nothing is.
	Observe func(route string, status int, took time.Duration)
	Log     *slog.Logger
}

// API answers calls over HTTP. It is safe for concurrent use. Its owner closes it.
type API struct {
	Config
	feed     *feed
	limits   *limits
	handler  http.Handler
	document []byte
}

// maxBody is the most that a body may hold, the same as a request's on the broker.
const maxBody = events.MaxRequestBytes

// New makes an API. It subscribes to the broker's announcements.
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
	a := &API{Config: c, limits: newLimits(c.Rate)}
	mux := http.NewServeMux()
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

// Handler returns the handler of all routes.
func (a *API) Handler() http.Handler { return a.handler }

// Drain ends what would never end by itself: calls that follow events.
func (a *API) Drain() { a.feed.drain() }

// Close releases the subscription.
func (a *API) Close() error {
	a.feed.close()
	return nil
}

// register registers every operation on mux.
func (a *API) register(mux *http.ServeMux) huma.API {
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
	a.registerSchedules(operations)
	a.registerEvents(operations)
	a.registerLinks(operations)
	a.registerWhoami(operations)
	return operations
}

// bearer is the name of the security scheme.
const bearer = "bearer"

// operation describes an operation of a project, for callers with one of the scopes.
func (a *API) operation(id, method, path, summary, description string, scopes ...access.Scope) huma.Operation {
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

// problems is the response of all that is no success.
func problems() map[string]*huma.Response {
	return map[string]*huma.Response{"default": {
		Description: "A problem. `code` says which, in one word.",
		Content:     map[string]*huma.MediaType{problemMedia: {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}}},
	}}
}

// path joins an address within the API to its public one.
func (a *API) path(format string, args ...any) string {
	return strings.TrimSuffix(a.PublicURL, "/") + fmt.Sprintf(format, args...)
}
