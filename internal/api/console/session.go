package console

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/api"
)

const (
	// cookieName has the prefix by which browsers accept the cookie only with Secure, for the whole
	// host and without a domain. Chromium and Firefox accept it from a loopback address without TLS too.
	cookieName = "__Host-pgcourier"
	// sessionLife is how long a session lasts after its login.
	sessionLife = 12 * time.Hour
	// maxToken is the longest JWT that fits into a cookie of 4 KiB.
	maxToken = 2800
)

// sessions seals and opens the cookies of sessions. A cookie holds the token, so that it can be checked
// at each request, and no process has to keep anything.
type sessions struct{ aeads []cipher.AEAD }

// session is the content of a cookie.
type session struct {
	Token string `json:"t"`
	Ends  int64  `json:"e"` // Unix time
}

func newSessions(keys [][]byte) (*sessions, error) {
	s := &sessions{}
	for _, key := range keys {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("console: key of sessions: %w", err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, fmt.Errorf("console: key of sessions: %w", err)
		}
		s.aeads = append(s.aeads, aead)
	}
	if len(s.aeads) == 0 {
		return nil, errors.New("console: there is no key of sessions")
	}
	return s, nil
}

func (s *sessions) seal(token string, ends time.Time) (string, error) {
	return s.sealAs(cookieName, session{token, ends.Unix()})
}

// sealAs seals the content of the cookie with a name.
func (s *sessions) sealAs(name string, of any) (string, error) {
	b, err := json.Marshal(of)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.aeads[0].Seal(nil, nil, b, []byte(name))), nil //nolint:gosec // the AEAD makes a random nonce itself
}

// open returns the token of a cookie; "": it is malformed, of another key, or over.
func (s *sessions) open(value string, now time.Time) string {
	var of session
	if !s.openAs(cookieName, value, &of) || now.Unix() >= of.Ends {
		return ""
	}
	return of.Token
}

// openAs opens the content of the cookie with a name.
func (s *sessions) openAs(name, value string, into any) bool {
	b, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return false
	}
	for _, aead := range s.aeads {
		if plain, err := aead.Open(nil, nil, b, []byte(name)); err == nil {
			return json.Unmarshal(plain, into) == nil
		}
	}
	return false
}

// errNoSession means that the browser sent no session that is valid.
var errNoSession = errors.New("no session")

// caller returns the caller of a request: errNoSession, or a *api.Problem of its token.
func (c *Console) caller(r *http.Request) (api.Caller, error) {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return api.Caller{}, errNoSession
	}
	token := c.sessions.open(cookie.Value, time.Now())
	if token == "" {
		return api.Caller{}, errNoSession
	}
	return c.API.Authenticate(r, token)
}

// anonymous answers a request without a valid session.
func (c *Console) anonymous(w http.ResponseWriter, r *http.Request, err error) {
	p, told := errors.AsType[*api.Problem](err)
	switch {
	case told && p.Status == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "5")
		c.refuse(w, r, p.Status, "The database does not answer", "The session cannot be checked. It stays, and this page tries again by itself every five seconds.")
		return
	case told && p.Status != http.StatusUnauthorized:
		c.refuse(w, r, p.Status, "That was refused", sentence(p.Detail))
		return
	}
	query := url.Values{}
	if _, err := r.Cookie(cookieName); err == nil {
		query.Set("why", "ended")
		c.forget(w)
	}
	if r.Header.Get("Accept") == "text/event-stream" {
		w.WriteHeader(http.StatusNoContent) // an EventSource does not connect again after it
		return
	}
	if r.Method == http.MethodGet && r.URL.Path != Prefix {
		query.Set("next", r.URL.RequestURI())
	}
	to := Prefix + "login"
	if len(query) > 0 {
		to += "?" + query.Encode()
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// loginData is the content of the login page.
type loginData struct{ Why, Next, Issuer string }

func (c *Console) loginPage(w http.ResponseWriter, r *http.Request) {
	why := map[string]string{
		"ended":  "The session has ended: its time is over, or its token was revoked or has expired. Log in again.",
		"cookie": "The browser did not keep the session's cookie. Open the console over https; without TLS only Chromium and Firefox keep it, and only from a loopback address such as http://localhost.",
		"out":    "You are logged out. The token stays valid: revoke it if it should not.",
	}[r.URL.Query().Get("why")]
	c.showLogin(w, r, http.StatusOK, loginData{Why: why, Next: local(r.URL.Query().Get("next"))})
}

func (c *Console) showLogin(w http.ResponseWriter, r *http.Request, status int, d loginData) {
	d.Issuer = c.issuerPath(d.Next)
	c.render(w, r, status, "login", frame{Title: "Log in", Body: d})
}

// local returns a path of the console, and "" for any other text.
func local(path string) string {
	if u, err := url.Parse(path); err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(u.Path, Prefix) {
		return ""
	}
	return path
}

// login begins a session by the form.
func (c *Console) login(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		c.refuse(w, r, http.StatusBadRequest, "The form could not be read", "It is malformed, or larger than 64 KiB.")
		return
	}
	c.logIn(w, r, strings.TrimSpace(r.PostForm.Get("token")), local(r.PostForm.Get("next")))
}

// logIn begins a session of a token, or shows the login page with the reason why there is none.
func (c *Console) logIn(w http.ResponseWriter, r *http.Request, token, next string) {
	if status, why := c.begin(w, r, token, next); why != "" {
		c.showLogin(w, r, status, loginData{Why: why, Next: next})
	}
}

// begin begins a session of a token and sends the browser on. If there is none, it has not answered, and
// returns the status and the reason.
func (c *Console) begin(w http.ResponseWriter, r *http.Request, token, next string) (status int, why string) {
	if len(token) > maxToken {
		return http.StatusUnauthorized, "The token is too long for a session. Use a token of pgcourier."
	}
	caller, err := c.API.Authenticate(r, token)
	if p, told := errors.AsType[*api.Problem](err); told {
		switch p.Status {
		case http.StatusUnauthorized:
			return p.Status, "The token is unknown, revoked or expired."
		case http.StatusServiceUnavailable:
			w.Header().Set("Retry-After", "5")
			return p.Status, "The database does not answer, so the token cannot be checked. Try again."
		}
		return p.Status, sentence(p.Detail)
	}
	ends := time.Now().Add(sessionLife)
	if !caller.ExpiresAt.IsZero() && caller.ExpiresAt.Before(ends) {
		ends = caller.ExpiresAt
	}
	value, err := c.sessions.seal(token, ends)
	if err != nil {
		c.Log.ErrorContext(r.Context(), "session not sealed", "error", err)
		return http.StatusInternalServerError, "The server failed: the session could not be sealed."
	}
	c.setCookie(w, cookieName, value, ends)
	c.Log.InfoContext(r.Context(), "login to the console", "subject", caller.Subject, "address", caller.Address)
	if next == "" {
		next = Prefix
	}
	http.Redirect(w, r, Prefix+"login/check?next="+url.QueryEscape(next), http.StatusSeeOther)
	return 0, ""
}

// checkLogin sees whether the browser kept the cookie.
func (c *Console) checkLogin(w http.ResponseWriter, r *http.Request) {
	next := local(r.URL.Query().Get("next"))
	if next == "" {
		next = Prefix
	}
	if _, err := r.Cookie(cookieName); err != nil {
		next = Prefix + "login?why=cookie"
	}
	http.Redirect(w, r, next, http.StatusSeeOther) //nolint:gosec // a path of the console
}

// logout ends a session in this browser.
func (c *Console) logout(w http.ResponseWriter, r *http.Request) {
	c.forget(w)
	w.Header().Set("Clear-Site-Data", `"cache"`)
	http.Redirect(w, r, Prefix+"login?why=out", http.StatusSeeOther)
}

// forget deletes the cookie.
func (c *Console) forget(w http.ResponseWriter) { c.setCookie(w, cookieName, "", time.Time{}) }

// newRequestKey returns an id for a form, so that a form that is sent twice asks once.
func newRequestKey() string { return "console-" + strings.ToLower(rand.Text()) }
