package console

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/pgcourier/pgcourier/internal/secret"
)

// OneTimeLogin is a login with a token by the first call of an address. It is for one process: no other
// process knows its code.
type OneTimeLogin struct {
	Code  secret.String // at the end of the address: see OneTimePath
	Token secret.String
	Ends  time.Time

	used atomic.Bool
}

// OneTimePath returns the path of a one-time login.
func OneTimePath(code secret.String) string { return Prefix + "login/once/" + code.Reveal() }

// take returns the token for a code, once; "": the code is another one, was used, or is over.
func (o *OneTimeLogin) take(code string, now time.Time) string {
	if o == nil || !now.Before(o.Ends) {
		return ""
	}
	given, want := sha256.Sum256([]byte(code)), sha256.Sum256([]byte(o.Code.Reveal()))
	if subtle.ConstantTimeCompare(given[:], want[:]) != 1 || o.used.Swap(true) {
		return ""
	}
	return o.Token.Reveal()
}

// logInOnce begins a session by a one-time login.
func (c *Console) logInOnce(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead { // a look at the link does not use it up
		w.WriteHeader(http.StatusNoContent)
		return
	}
	token := c.Once.take(r.PathValue("code"), time.Now())
	if token == "" {
		c.showLogin(w, r, http.StatusForbidden, loginData{Why: "This link logs in once and for a short time. It was used already, or its time is over: log in with the token."})
		return
	}
	c.begin(w, r, token, "")
}
