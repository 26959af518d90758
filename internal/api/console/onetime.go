package console

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/internal/secret"
)

// OneTimeLogin is a login with a token by the first call of an address. It is for one process: no other
// process knows its code.
type OneTimeLogin struct {
	Code  secret.String // at the end of the address: see OneTimePath
	Token secret.String
	Ends  time.Time

	mu   sync.Mutex // held while a session begins
	used bool
}

// OneTimePath returns the path of a one-time login.
func OneTimePath(code secret.String) string { return Prefix + "login/once/" + code.Reveal() }

// use calls begin with the token for a code. Once begin has begun a session, the code is used. use returns
// false without a call if the code is another one, was used, or is over.
func (o *OneTimeLogin) use(code string, now time.Time, begin func(token string) (begun bool)) bool {
	if o == nil || !now.Before(o.Ends) {
		return false
	}
	given, want := sha256.Sum256([]byte(code)), sha256.Sum256([]byte(o.Code.Reveal()))
	if subtle.ConstantTimeCompare(given[:], want[:]) != 1 {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.used {
		return false
	}
	o.used = begin(o.Token.Reveal())
	return true
}

// logInOnce begins a session by a one-time login.
func (c *Console) logInOnce(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead { // a look at the link does not use it up
		w.WriteHeader(http.StatusNoContent)
		return
	}
	known := c.Once.use(r.PathValue("code"), time.Now(), func(token string) bool {
		status, why := c.begin(w, r, token, "")
		switch {
		case status == http.StatusServiceUnavailable:
			c.refuse(w, r, status, "The database does not answer", "The login cannot be checked. The link stays valid, and this page tries it again by itself every five seconds.")
		case why != "":
			c.showLogin(w, r, status, loginData{Why: why})
		}
		return why == ""
	})
	if !known {
		c.showLogin(w, r, http.StatusForbidden, loginData{Why: "This link logs in once and for a short time. It was used already, or its time is over: log in with the token."})
	}
}
