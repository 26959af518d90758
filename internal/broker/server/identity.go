package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrNotTold says that the broker does not return the identity of a connection: it has no system
// account, or the user has no right to ask.
var ErrNotTold = errors.New("the broker does not tell the rights of this login")

// ownRights is the subject on which a server returns the identity and rights of a connection.
const ownRights = "$SYS.REQ.USER.INFO"

// Identity is the user of a connection, as the broker sees it.
type Identity struct {
	User    string // a public key or a name; may be empty
	Account string
	// Rights are the rights of the user; nil: they are not limited.
	Rights *Rights
}

// WhoAmI requests the identity of nc from the broker. ErrNotTold.
func WhoAmI(ctx context.Context, nc *nats.Conn) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second) // a request without permission is never answered
	defer cancel()
	reply, err := nc.RequestWithContext(ctx, ownRights, nil)
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded) {
		return Identity{}, fmt.Errorf("%w: %w", ErrNotTold, err)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("ask the broker for one's rights: %w", err)
	}
	type subjects struct{ Allow, Deny []string }
	var said struct {
		Data struct {
			User        string
			Account     string
			Permissions *struct{ Publish, Subscribe *subjects }
		}
	}
	if err := json.Unmarshal(reply.Data, &said); err != nil || said.Data.Account == "" {
		return Identity{}, fmt.Errorf("%w: its answer cannot be read", ErrNotTold)
	}
	who := Identity{User: said.Data.User, Account: said.Data.Account}
	p := said.Data.Permissions
	if p == nil {
		return who, nil
	}
	all := subjects{Allow: []string{">"}}
	publish, subscribe := &all, &all
	if p.Publish != nil {
		publish = p.Publish
	}
	if p.Subscribe != nil {
		subscribe = p.Subscribe
	}
	who.Rights = &Rights{Publish: allowed(publish.Allow), DenyPublish: publish.Deny, Subscribe: allowed(subscribe.Allow), DenySubscribe: subscribe.Deny}
	return who, nil
}

// allowed returns a server's list of subjects. An empty list allows everything that is not denied.
func allowed(list []string) []string {
	if len(list) == 0 {
		return []string{">"}
	}
	return list
}

// Lacks returns the rights of want that are missing, as "publish SUBJECT" and "subscribe to
// SUBJECT". It does not compare subjects that want denies in part.
func (r Rights) Lacks(want Rights) []string {
	var out []string
	lacking := func(verb string, have, denied, wanted []string) {
		covers := func(subject string) func(string) bool {
			return func(pattern string) bool { return covers(pattern, subject) }
		}
		for _, s := range wanted {
			if !slices.ContainsFunc(have, covers(s)) || slices.ContainsFunc(denied, covers(s)) {
				out = append(out, verb+" "+s)
			}
		}
	}
	lacking("publish", r.Publish, r.DenyPublish, want.Publish)
	lacking("subscribe to", r.Subscribe, r.DenySubscribe, want.Subscribe)
	return out
}

// covers reports whether the first pattern matches every subject that the second matches.
func covers(pattern, other string) bool {
	p, o := strings.Split(pattern, "."), strings.Split(other, ".")
	for i, token := range p {
		switch {
		case token == ">":
			return len(o) > i
		case i >= len(o), o[i] == ">":
			return false
		case token != "*" && token != o[i]:
			return false
		}
	}
	return len(p) == len(o)
}
