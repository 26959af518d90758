package console

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/api/access"
)

// tokensData is the content of the list of tokens.
type tokensData struct {
	Rows    []tokenRow
	Next    string // path of the next page
	First   bool   // this is the first page
	MayMake bool
}

// tokenRow is a token in the list.
type tokenRow struct {
	access.Token
	State  string
	Own    bool   // the session is of this token
	Revoke string // path of the action; empty: there is none
}

const tokensLimit = 50

func (v *view) tokens() error {
	all, err := v.Tokens(v.r.Context())
	if err != nil {
		return err
	}
	from, _ := strconv.Atoi(v.r.URL.Query().Get("from")) // 0: the first page
	from = min(max(from, 0), len(all))
	d := tokensData{MayMake: v.MayAny(api.CreateToken), First: from == 0}
	if all = all[from:]; len(all) > tokensLimit {
		all, d.Next = all[:tokensLimit], pathOf("tokens")+"?from="+strconv.Itoa(from+tokensLimit)
	}
	for _, t := range all {
		r := tokenRow{Token: t, State: t.State(time.Now()), Own: v.own(t)}
		if r.State == "active" && v.May(api.RevokeToken, t.Project) {
			r.Revoke = pathOf("tokens", t.ID, "revoke")
		}
		d.Rows = append(d.Rows, r)
	}
	return v.show("tokens", frame{Title: "Tokens", Tab: "Tokens", Body: d})
}

// own reports whether the session is of a token.
func (v *view) own(t access.Token) bool { return t.Grant().Subject == v.Caller().Subject }

var tokenCrumbs = []crumb{{"Tokens", pathOf("tokens")}}

// tokenForm is the content of the form of a new token.
type tokenForm struct {
	Project, Expires, Label string
	Scopes                  []scopeBox
	All                     bool // the caller is for all projects
	Fault                   string
}

// scopeBox is the box of a scope.
type scopeBox struct {
	Name, For string
	Chosen    bool
}

// scopeBoxes are the scopes with what each is for.
var scopeBoxes = []scopeBox{
	{Name: string(access.Read), For: "see exports, their events and schedules; needed for this console"},
	{Name: string(access.Export), For: "ask for exports, cancel them"},
	{Name: string(access.Download), For: "fetch exports, issue links to them"},
	{Name: string(access.Operate), For: "cancel, replay, verify and delete exports, change schedules, replay notifications"},
	{Name: string(access.Restore), For: "restore exports into projects, which may replace their data"},
	{Name: string(access.Admin), For: "all of these, and make and revoke tokens"},
}

func (v *view) newToken() error {
	if err := v.Require(api.CreateToken); err != nil {
		return err
	}
	f := tokenForm{Project: v.parameter("project"), Expires: "90d"}
	if projects := v.Caller().Projects; f.Project == "" && len(projects) == 1 && !v.All(api.CreateToken) {
		f.Project = projects[0]
	}
	return v.showToken(http.StatusOK, f, []string{string(access.Read)})
}

func (v *view) showToken(status int, f tokenForm, chosen []string) error {
	f.All = v.All(api.CreateToken)
	f.Scopes = slices.Clone(scopeBoxes)
	for i := range f.Scopes {
		f.Scopes[i].Chosen = slices.Contains(chosen, f.Scopes[i].Name)
	}
	return v.showStatus(status, "token", frame{Title: "Make a token", Tab: "Tokens", Crumbs: tokenCrumbs, Body: f})
}

// makeToken makes a token and shows it, once.
func (v *view) makeToken() error {
	form := v.r.PostForm
	f := tokenForm{Project: strings.TrimSpace(form.Get("project")), Expires: strings.TrimSpace(form.Get("expires")), Label: strings.TrimSpace(form.Get("label"))}
	made, err := v.CreateToken(v.r.Context(), f.Project, api.TokenTerms{Scopes: form["scope"], Expires: f.Expires, Label: f.Label})
	if p, told := errors.AsType[*api.Problem](err); told && p.Status == http.StatusUnprocessableEntity {
		f.Fault = sentence(p.Detail)
		return v.showToken(p.Status, f, form["scope"])
	}
	if err != nil {
		return err
	}
	return v.show("tokenmade", frame{Title: "New token", Tab: "Tokens", Crumbs: tokenCrumbs, Body: made})
}

// findToken returns the token of the path.
func (v *view) findToken() (access.Token, error) {
	all, err := v.Tokens(v.r.Context())
	if err != nil {
		return access.Token{}, err
	}
	for _, t := range all {
		if t.ID == v.r.PathValue("id") {
			return t, v.Require(api.RevokeToken, t.Project)
		}
	}
	return access.Token{}, errNoPage
}

// confirmToken asks before a token is revoked.
func (v *view) confirmToken() error {
	t, err := v.findToken()
	if err != nil {
		return err
	}
	d := confirmData{
		Subject: t.ID, Label: "Revoke the token", Danger: true, Back: pathOf("tokens"), Action: pathOf("tokens", t.ID, "revoke"),
		Explain: []string{
			"Every call with the token is refused from now on, at every server. Its sessions of this console end.",
			"This cannot be undone. What was asked for with it goes on, and tokens that were made with it stay valid.",
		},
	}
	if t.Label != "" {
		d.Subject += " (" + t.Label + ")"
	}
	if v.own(t) {
		d.Warning = "This is the token of your own session: you are logged out at once, and need another token to log in again."
	}
	return v.show("confirm", frame{Title: "Revoke a token", Tab: "Tokens", Crumbs: tokenCrumbs, Body: d})
}

func (v *view) revokeToken() error {
	t, err := v.findToken()
	if err != nil {
		return err
	}
	if err := v.RevokeToken(v.r.Context(), t.Project, t.ID); err != nil {
		return err
	}
	return v.redirect(pathOf("tokens"), "token-revoked")
}
