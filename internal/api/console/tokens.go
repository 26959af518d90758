package console

import (
	"time"

	"github.com/pgcourier/pgcourier/internal/api/access"
)

// tokenRow is a token in the list.
type tokenRow struct {
	access.Token
	State string
	Own   bool // the session is of this token
}

func (v *view) tokens() error {
	all, err := v.Tokens(v.r.Context())
	if err != nil {
		return err
	}
	rows := make([]tokenRow, len(all))
	for i, t := range all {
		rows[i] = tokenRow{t, t.State(time.Now()), t.Grant().Subject == v.Caller().Subject}
	}
	return v.show("tokens", frame{Title: "Tokens", Tab: "Tokens", Body: rows})
}
