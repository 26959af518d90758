package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/retention"
)

// Prefix is the path below which all pages are.
const Prefix = "/console/"

// Config configures a Console.
type Config struct {
	API *api.API
	// Keys are the keys of sessions, 32 bytes each. The first seals; each of them opens.
	Keys    [][]byte
	Version string
	// PublicURL is the URL of the API for callers. Forms from there are accepted also by a browser
	// that tells only the origin. Default: none.
	PublicURL string
	// Login logs users in at an OpenID Connect issuer. nil: tokens only.
	Login Login
	// Examine checks what this process depends on. nil: the page names the command.
	Examine func(context.Context) []Finding
	// Plan returns what retention would do about a project now. nil: the page names the command.
	Plan func(ctx context.Context, project string) (retention.Report, error)
	// Once is a login by the first call of an address. nil: there is no such address.
	Once *OneTimeLogin
	// Retention is the policy of projects without other rules.
	Retention retention.Policy
	// Notice is the time between the warning and the deletion.
	Notice time.Duration
	Log    *slog.Logger
}

// Login gets the access tokens of an issuer.
type Login interface {
	// Address returns the issuer's address for one login.
	Address(state, verifier string) (string, error)
	// Redeem returns the access token for the code that the issuer gave.
	Redeem(ctx context.Context, code, verifier string) (string, error)
}

// LoginPath is the path to which the issuer sends the browser back.
const LoginPath = Prefix + "login/issuer/back"

// Finding is one result of Examine.
type Finding struct{ Check, State, Found, Fix string }

// Console serves the pages.
type Console struct {
	Config
	sessions *sessions
	guard    *http.CrossOriginProtection
	mux      *http.ServeMux
	health   examination
}

// New returns a Console.
func New(c Config) (*Console, error) {
	s, err := newSessions(c.Keys)
	if err != nil {
		return nil, err
	}
	out := &Console{Config: c, sessions: s, guard: http.NewCrossOriginProtection(), mux: http.NewServeMux()}
	if u, err := url.Parse(c.PublicURL); err == nil && u.Host != "" {
		if err := out.guard.AddTrustedOrigin(u.Scheme + "://" + u.Host); err != nil {
			return nil, fmt.Errorf("console: %w", err)
		}
	}
	out.guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out.refuse(w, r, http.StatusForbidden, "This form came from another site", "Nothing was done. Open the console itself and try again.")
	}))
	out.routes()
	return out, nil
}

// policy is the Content-Security-Policy of every page: nothing inline, nothing from elsewhere.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP implements http.Handler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Embedder-Policy", "require-corp")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	c.guard.Handler(c.mux).ServeHTTP(w, r)
}

func (c *Console) routes() {
	handle := c.mux.HandleFunc
	handle("GET "+Prefix+"assets/{hash}/{name}", c.asset)
	handle("GET "+Prefix+"login", c.loginPage)
	handle("POST "+Prefix+"login", c.login)
	handle("GET "+Prefix+"login/check", c.checkLogin)
	handle("GET "+Prefix+"login/once/{code}", c.logInOnce)
	handle("GET "+Prefix+"login/issuer", c.askIssuer)
	handle("GET "+LoginPath, c.backFromIssuer)
	handle("POST "+Prefix+"logout", c.logout)
	handle("GET "+Prefix+"live", c.page((*view).live))
	for path, show := range map[string]func(*view) error{
		"GET {$}":                                         (*view).overview,
		"GET exports":                                     (*view).exports,
		"GET exports/{project}/{id}":                      (*view).export,
		"GET exports/{project}/{id}/file":                 (*view).file,
		"GET exports/{project}/{id}/receipt":              (*view).receipt,
		"GET exports/{project}/{id}/{action}":             (*view).confirm,
		"POST exports/{project}/{id}/{action}":            (*view).act,
		"GET exports/{project}/{id}/links/{link}/revoke":  (*view).confirmRevocation,
		"POST exports/{project}/{id}/links/{link}/revoke": (*view).revokeLink,
		"GET request":                                     (*view).requestForm,
		"POST request":                                    (*view).request,
		"GET replay":                                      (*view).confirmReplays,
		"POST replay":                                     (*view).replays,
		"GET restores":                                    (*view).restores,
		"GET restores/{project}/{id}":                     (*view).restore,
		"GET restores/{project}/{id}/cancel":              (*view).confirmCancelRestore,
		"POST restores/{project}/{id}/cancel":             (*view).cancelRestore,
		"GET schedules":                                   (*view).schedules,
		"GET schedules/{project}/{name}/{action}":         (*view).confirmSchedule,
		"POST schedules/{project}/{name}/{action}":        (*view).actOnSchedule,
		"GET notifications":                               (*view).notifications,
		"GET notifications/{project}/{key}/replay":        (*view).confirmNotice,
		"POST notifications/{project}/{key}/replay":       (*view).replayNotice,
		"GET retention":                                   (*view).retention,
		"GET health":                                      (*view).healthPage,
		"POST health":                                     (*view).examine,
		"GET tokens":                                      (*view).tokens,
		"GET tokens/new":                                  (*view).newToken,
		"POST tokens/new":                                 (*view).makeToken,
		"GET tokens/{id}/revoke":                          (*view).confirmToken,
		"POST tokens/{id}/revoke":                         (*view).revokeToken,
		"GET audit":                                       (*view).audit,
	} {
		method, rest, _ := strings.Cut(path, " ")
		handle(method+" "+Prefix+rest, c.page(show))
	}
	handle(Prefix, c.page(func(*view) error { return errNoPage }))
}

var errNoPage = errors.New("no such page")

// view is one request of a session.
type view struct {
	*api.Operations
	console *Console
	w       http.ResponseWriter
	r       *http.Request
	seen    string // the place of the page among the live events
}

// page returns the handler of a page. It asks for a login first, and renders errors.
func (c *Console) page(show func(*view) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		caller, err := c.caller(r)
		if err != nil {
			c.anonymous(w, r, err)
			return
		}
		if r.Method == http.MethodPost {
			if err := r.ParseForm(); err != nil {
				c.refuse(w, r, http.StatusBadRequest, "The form could not be read", "It is malformed, or larger than 64 KiB. Nothing was done.")
				return
			}
		}
		o := c.API.As(caller)
		v := &view{Operations: &o, console: c, w: w, r: r, seen: o.Seen()}
		if !o.MayAny(api.OpenPages) {
			c.refuse(w, r, http.StatusForbidden, "This token may not look at anything", "The console needs a token with the scope read.")
			return
		}
		if err := show(v); err != nil {
			v.fail(err)
		}
	}
}

// fail renders an error as a page.
func (v *view) fail(err error) {
	if errors.Is(err, errNoPage) {
		v.status(http.StatusNotFound, "There is no such page", "Follow one of the links above.")
		return
	}
	p := v.console.API.ProblemOf(v.r.Context(), err)
	switch p.Status {
	case http.StatusNotFound:
		v.status(p.Status, "There is no such thing", "It does not exist, or it was deleted, or this token may not see it.")
	case http.StatusForbidden:
		v.status(p.Status, "This token may not do that", "Nothing was done. Ask for a token with a scope that allows it.")
	case http.StatusServiceUnavailable:
		v.w.Header().Set("Retry-After", "5")
		v.status(p.Status, "The broker or the database does not answer", "Nothing is lost: exports go on as soon as both answer. This page tries again by itself every five seconds.")
	case http.StatusInternalServerError:
		v.status(p.Status, "The server failed", "Its log has the cause under the id "+p.ID+".")
	default:
		v.status(p.Status, "That was refused", sentence(p.Detail))
	}
}

// sentence returns text that begins with a capital letter and ends with a full stop.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + strings.TrimSuffix(text[1:], ".") + "."
}

// at returns the export of the path.
func (v *view) at() api.ExportPath {
	return api.ExportPath{ProjectPath: api.ProjectPath{Project: v.r.PathValue("project")}, ID: v.r.PathValue("id")}
}

// redirect answers a form with another page.
func (v *view) redirect(path, did string) error {
	if did != "" {
		path += "?did=" + did
	}
	http.Redirect(v.w, v.r, path, http.StatusSeeOther)
	return nil
}
