package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/api/access"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed assets/*
var assetFiles embed.FS

// assetHash is part of the assets' paths: a browser keeps them until they change.
var assetHash = func() string {
	sum := sha256.New()
	for _, name := range []string{"style.css", "script.js", "icon.svg"} {
		b, err := assetFiles.ReadFile("assets/" + name)
		if err != nil {
			panic("console: " + err.Error()) // a file of the program
		}
		sum.Write(b)
	}
	return hex.EncodeToString(sum.Sum(nil)[:6])
}()

// pages returns the templates by the name of their file. They are parsed for the first page: most
// processes of this program show none, and they take a megabyte.
var pages = sync.OnceValue(func() map[string]*template.Template {
	base := template.Must(template.New("").Funcs(functions).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html"))
	all := map[string]*template.Template{}
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic("console: " + err.Error()) // a folder of the program
	}
	for _, f := range files {
		t := template.Must(base.Clone())
		all[strings.TrimSuffix(f.Name(), ".html")] = template.Must(t.ParseFS(templateFiles, "templates/"+f.Name()))
	}
	return all
})

// frame is what every page has.
type frame struct {
	Title  string
	Crumbs []crumb // above the title, without the page itself
	Tab    string  // the entry of the navigation that is current
	Live   bool    // the script follows events and renews the parts with data-part
	Seen   string  // the place of the page among the live events
	Renew  int     // seconds after which the script renews the parts also without an event; 0: a minute
	Retry  bool    // the page loads itself again after five seconds
	Body   any

	Navigation []tab
	Who        string
	Rights     string
	Flash      string
	Notes      []string // what could not be shown, and why
	Assets     string
	Version    string
	Zone       string // of the viewer, as this process knows it
	Now        time.Time
}

type crumb struct{ Name, Path string }

type tab struct {
	Name, Path string
	Current    bool
}

// flashes are the messages of redirects.
var flashes = map[string]string{ //nolint:gosec // texts
	"requested":         "The export was asked for. It begins as soon as a worker is free.",
	"cancelled":         "The export is being cancelled.",
	"replayed":          "The export was asked for again. This is the new request.",
	"verifying":         "The verification was asked for. What it finds is shown here as soon as it has ended.",
	"deleted":           "The export will be deleted from every destination, soon. The page then says when it was done.",
	"restoring":         "The restore was asked for and is not done yet. It begins as soon as a restorer is free; this page follows it.",
	"planning":          "The plan was asked for. It changes nothing; this page shows it as soon as a restorer has made it.",
	"restore-cancelled": "The restore is being cancelled. If the target has committed it already, it completes all the same.",
	"revoked":           "The link was revoked: it opens nothing from now on.",
	"paused":            "The schedule is paused. A run that is in the queue already goes on.",
	"resumed":           "The schedule is active again. The runs of the pause are not made up for.",
	"schedule-deleted":  "The schedule was deleted. A run that is in the queue already goes on.",
	"notice-replayed":   "The notification is in the queue again. Its state changes here as soon as it was tried.",
	"token-revoked":     "The token was revoked: every call with it is refused from now on.",
	"examined":          "The checks have run.",
}

// show renders a page of a session.
func (v *view) show(name string, f frame) error { return v.showStatus(http.StatusOK, name, f) }

func (v *view) showStatus(status int, name string, f frame) error {
	for _, t := range []struct {
		name, path, operation string
	}{
		{"Overview", "", api.OpenPages},
		{"Exports", "exports", api.OpenPages},
		{"Restores", "restores", api.ListRestores},
		{"Schedules", "schedules", api.ListSchedules},
		{"Notifications", "notifications", api.ListNotices},
		{"Retention", "retention", api.PlanRetention},
		{"Health", "health", api.Examine},
		{"Tokens", "tokens", api.ListTokens},
		{"Audit", "audit", api.ListCalls},
	} {
		if v.MayAny(t.operation) && (t.operation != api.ListRestores || v.TakesRestores(v.r.Context())) {
			f.Navigation = append(f.Navigation, tab{t.name, Prefix + t.path, t.name == f.Tab})
		}
	}
	who := v.Caller()
	f.Who, f.Seen = who.Subject, v.seen
	f.Rights = rights(who.Grant)
	f.Flash = flashes[v.r.URL.Query().Get("did")]
	v.console.render(v.w, v.r, status, name, f)
	return nil
}

// rights describes a grant for its owner.
func rights(g access.Grant) string {
	scopes := make([]string, len(g.Scopes))
	for i, s := range g.Scopes {
		scopes[i] = string(s)
	}
	of := "all projects"
	if !slices.Contains(g.Projects, access.AllProjects) {
		of = strings.Join(g.Projects, ", ")
	}
	return strings.Join(scopes, ", ") + " of " + of
}

// statusData is the content of a page that says why there is no other.
type statusData struct {
	Status     int
	Text, Hint string
}

// status renders a page of a session that says why there is no other.
func (v *view) status(status int, text, hint string) {
	_ = v.showStatus(status, "status", frame{Title: text, Retry: status == http.StatusServiceUnavailable, Body: statusData{status, text, hint}}) // it never fails
}

// refuse renders a page without a session.
func (c *Console) refuse(w http.ResponseWriter, r *http.Request, status int, text, hint string) {
	c.render(w, r, status, "status", frame{Title: text, Retry: status == http.StatusServiceUnavailable && r.Method == http.MethodGet, Body: statusData{status, text, hint}})
}

// render writes a page. It writes nothing before the whole page is rendered.
func (c *Console) render(w http.ResponseWriter, r *http.Request, status int, name string, f frame) {
	f.Assets, f.Version, f.Zone, f.Now = Prefix+"assets/"+assetHash, c.Version, zoneOf(r).String(), time.Now()
	var b bytes.Buffer
	if err := pages()[name].ExecuteTemplate(&b, "layout", f); err != nil {
		c.Log.ErrorContext(r.Context(), "page not rendered", "page", name, "error", err)
		http.Error(w, "The page cannot be shown; the server's log has the cause.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // fails only when the browser has gone
}

// asset serves a file of the pages.
func (c *Console) asset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	b, err := assetFiles.ReadFile("assets/" + name)
	kind := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}[path.Ext(name)]
	if err != nil || kind == "" {
		c.refuse(w, r, http.StatusNotFound, "There is no such page", "The console was perhaps updated: load the page again.")
		return
	}
	if r.PathValue("hash") == assetHash {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(b) //nolint:gosec // a file of the program; it fails only when the browser has gone
}
