package console

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"net/url"
	"time"
)

const (
	// loginCookie holds a login at the issuer until the browser comes back.
	loginCookie = "__Host-pgcourier-login"
	loginLife   = 10 * time.Minute
)

// pendingLogin is the content of loginCookie.
type pendingLogin struct {
	State    string `json:"s"`
	Verifier string `json:"v"`
	Next     string `json:"n"`
	Ends     int64  `json:"e"` // Unix time
}

// askIssuer sends the browser to the issuer.
func (c *Console) askIssuer(w http.ResponseWriter, r *http.Request) {
	if c.Login == nil {
		c.refuse(w, r, http.StatusNotFound, "There is no such page", "This console takes tokens only.")
		return
	}
	// 52 characters of 5 random bits; RFC 7636 asks for 43 to 128.
	p := pendingLogin{State: rand.Text(), Verifier: rand.Text() + rand.Text(), Next: local(r.URL.Query().Get("next")), Ends: time.Now().Add(loginLife).Unix()}
	to, err := c.Login.Address(p.State, p.Verifier)
	if err != nil {
		c.Log.WarnContext(r.Context(), "issuer not asked", "error", err)
		c.refuse(w, r, http.StatusServiceUnavailable, "The issuer does not answer", "Log in with a token, or try again.")
		return
	}
	value, err := c.sessions.sealAs(loginCookie, p)
	if err != nil {
		c.refuse(w, r, http.StatusInternalServerError, "The server failed", "The login could not be sealed.")
		return
	}
	c.setCookie(w, loginCookie, value, time.Now().Add(loginLife))
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// backFromIssuer ends a login at the issuer.
func (c *Console) backFromIssuer(w http.ResponseWriter, r *http.Request) {
	if c.Login == nil {
		c.refuse(w, r, http.StatusNotFound, "There is no such page", "This console takes tokens only.")
		return
	}
	var p pendingLogin
	cookie, err := r.Cookie(loginCookie)
	q := r.URL.Query()
	if err != nil || !c.sessions.openAs(loginCookie, cookie.Value, &p) || time.Now().Unix() >= p.Ends ||
		subtle.ConstantTimeCompare([]byte(p.State), []byte(q.Get("state"))) != 1 {
		c.showLogin(w, r, http.StatusForbidden, loginData{Why: "This login was begun in another browser, or too long ago. Begin again."})
		return
	}
	c.setCookie(w, loginCookie, "", time.Time{}) // a code is good for one login
	if q.Get("code") == "" {
		c.showLogin(w, r, http.StatusForbidden, loginData{Why: "The issuer refused the login: " + shown(q.Get("error")+" "+q.Get("error_description"), shortText), Next: p.Next})
		return
	}
	token, err := c.Login.Redeem(r.Context(), q.Get("code"), p.Verifier)
	if err != nil {
		c.Log.WarnContext(r.Context(), "login at the issuer not completed", "error", err)
		c.showLogin(w, r, http.StatusBadGateway, loginData{Why: "The issuer did not give a token for the login. Begin again.", Next: p.Next})
		return
	}
	c.logIn(w, r, token, p.Next)
}

// setCookie sets a cookie, or deletes it if it ends at no time.
func (c *Console) setCookie(w http.ResponseWriter, name, value string, ends time.Time) {
	cookie := &http.Cookie{Name: name, Value: value, Path: "/", Expires: ends, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if ends.IsZero() {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

// issuerPath returns the path of the login at the issuer; empty: there is none.
func (c *Console) issuerPath(next string) string {
	switch {
	case c.Login == nil:
		return ""
	case next == "":
		return Prefix + "login/issuer"
	}
	return Prefix + "login/issuer?next=" + url.QueryEscape(next)
}
