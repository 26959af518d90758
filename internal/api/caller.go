package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"golang.org/x/time/rate"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/api/issuer"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

// Caller is an authenticated caller.
type Caller struct {
	access.Grant
	Address string // of the network
}

// call returns the audit's record of a call by the caller.
func (c Caller) call(action, project, object string) ledger.Call {
	return ledger.Call{Subject: c.Subject, Address: c.Address, Action: action, Project: project, Object: object}
}

type callerKey struct{}

func callerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// Authorize returns the caller of r if it has one of the scopes for a project. The error is a *Problem.
// It is the same for a project that does not exist: Authorize does not look up the project.
func (a *API) Authorize(r *http.Request, project string, scopes ...access.Scope) (Caller, error) {
	c, err := a.authenticate(r)
	switch {
	case err != nil:
		return Caller{}, err
	case !c.Allows(project, scopes...):
		return Caller{}, errForbidden
	}
	return c, nil
}

// authorize returns the middleware of an operation that checks the scopes before the body is read.
// Without scopes it accepts every authenticated caller.
func (a *API) authorize(scopes []access.Scope) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		c, err := a.authenticate(r)
		if err == nil && len(scopes) > 0 && !c.Allows(ctx.Param("project"), scopes...) {
			err = errForbidden
		}
		if err != nil {
			writeProblem(w, a.problemOf(ctx.Context(), err))
			return
		}
		next(huma.WithValue(ctx, callerKey{}, c))
	}
}

// authenticate returns the caller of a token and applies its rate limit.
func (a *API) authenticate(r *http.Request) (Caller, error) {
	scheme, presented, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "bearer") || len(r.Header.Values("Authorization")) > 1 {
		return Caller{}, errUnauthorized
	}
	return a.Authenticate(r, presented)
}

// Authenticate returns the caller of a token or a JWT, and applies its rate limit. The error is a
// *Problem.
func (a *API) Authenticate(r *http.Request, presented string) (Caller, error) {
	c := Caller{Address: a.address(r)}
	grant, err := a.grant(r.Context(), presented, c.Address)
	if err != nil {
		return Caller{}, err
	}
	c.Grant = grant
	note(r.Context(), c.Subject)
	return c, a.limits.take(c.Subject)
}

// grant returns the grant of a token or a JWT. The error is a *Problem.
func (a *API) grant(ctx context.Context, presented, address string) (access.Grant, error) {
	hash, ok := access.HashSecret(presented)
	if !ok && a.Issuer != nil {
		g, err := a.Issuer.Grant(ctx, presented)
		switch {
		case errors.Is(err, issuer.ErrUnavailable):
			a.Log.WarnContext(ctx, "issuer not asked", "error", err)
			return g, errUnavailable()
		case err != nil:
			a.Log.DebugContext(ctx, "JWT refused", "error", err)
			return g, errUnauthorized
		}
		return g, nil
	}
	if !ok {
		return access.Grant{}, errUnauthorized
	}
	token, err := a.Ledger.FindToken(ctx, hash)
	if errors.Is(err, access.ErrUnknownToken) {
		return access.Grant{}, errUnauthorized
	}
	if err != nil {
		return access.Grant{}, a.problemOf(ctx, err)
	}
	if token.LastUsedAt == nil || time.Since(*token.LastUsedAt) > time.Minute {
		a.noteUse(ctx, token, address)
	}
	return token.Grant(), nil
}

// noteUse records the use of a token. While one call records it, other calls of the same token go on:
// they would wait for that call's commit.
func (a *API) noteUse(ctx context.Context, token access.Token, address string) {
	if _, other := a.noting.LoadOrStore(token.ID, nil); other {
		return
	}
	defer a.noting.Delete(token.ID)
	if err := a.Ledger.TokenUsed(ctx, token.ID, address); err != nil {
		a.Log.WarnContext(ctx, "use of a token not noted", "subject", token.Grant().Subject, "error", err)
	}
}

func (a *API) address(r *http.Request) string { return Address(r, a.BehindProxy) }

// Address returns the IP address of a client. A proxy appends the address that it sees to
// X-Forwarded-For; earlier entries come from the client and are not trusted.
func Address(r *http.Request, behindProxy bool) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	if !behindProxy {
		return host
	}
	all := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	if last := net.ParseIP(strings.TrimSpace(all[len(all)-1])); last != nil {
		return last.String()
	}
	return host
}

// limits holds the rate limits of the callers.
type limits struct {
	rate rate.Limit

	mu  sync.Mutex
	all map[string]*limit
}

type limit struct {
	*rate.Limiter
	used time.Time
}

// idle is the time without a call after which the limit of a caller is removed: it is full by then.
const idle = 10 * time.Minute

func newLimits(perSecond float64) *limits {
	return &limits{rate: rate.Limit(perSecond), all: map[string]*limit{}}
}

// take counts a call, or returns a *Problem with Retry-After.
func (l *limits) take(subject string) error {
	now := time.Now()
	l.mu.Lock()
	one := l.all[subject]
	if one == nil {
		for s, other := range l.all { // before it grows
			if now.Sub(other.used) > idle {
				delete(l.all, s)
			}
		}
		one = &limit{Limiter: rate.NewLimiter(l.rate, max(1, int(2*l.rate)))}
		l.all[subject] = one
	}
	one.used = now
	l.mu.Unlock()
	if one.AllowN(now, 1) {
		return nil
	}
	p := problem(http.StatusTooManyRequests, codeRateLimited, "the caller makes too many calls")
	p.retryAfter = 1 + int(1/float64(l.rate))
	return p
}

// Whoami describes the rights of a caller.
type Whoami struct {
	Subject   string         `json:"subject" doc:"The caller, as events and the audit name it" example:"token:k3j9x7q2m4"`
	Projects  []string       `json:"projects" nullable:"false" doc:"The projects that the token is for; * for all"`
	Scopes    []access.Scope `json:"scopes" nullable:"false" enum:"export,read,download,operate,restore,admin" doc:"What it is for"`
	ExpiresAt *time.Time     `json:"expires_at,omitempty" doc:"When it ends; absent: never"`
}

type whoamiOutput struct{ Body Whoami }

func (a *API) registerWhoami(operations huma.API) {
	op := a.operation("whoami", http.MethodGet, "/v1/whoami", "Who calls, and what for", "")
	huma.Register(operations, op, func(ctx context.Context, _ *struct{}) (*whoamiOutput, error) {
		c := callerOf(ctx)
		w := Whoami{Subject: c.Subject, Projects: c.Projects, Scopes: c.Scopes}
		if !c.ExpiresAt.IsZero() {
			w.ExpiresAt = &c.ExpiresAt
		}
		return &whoamiOutput{w}, nil
	})
}

// invalidParameter is a problem of one parameter.
func invalidParameter(field, detail string) *Problem {
	p := problem(http.StatusUnprocessableEntity, codes.InvalidRequest, field+": "+detail)
	p.Field = field
	return p
}
