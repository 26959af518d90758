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

// ErrNotTold says that the broker does not tell a connection its identity: it has no system
// account, or the user may not ask.
var ErrNotTold = errors.New("the broker does not tell the rights of this login")

// ownRights is the subject on which a server tells a connection its own identity and rights.
const ownRights = "$SYS.REQ.USER.INFO"

// Identity is the user of a connection, as the broker sees it.
type Identity struct {
	User    string // a public key or a name; may be empty
	Account string
	// Rights are the user's; nil: they are not limited.
	Rights *Rights
}

// WhoAmI asks the broker for the identity of nc. ErrNotTold.
func WhoAmI(ctx context.Context, nc *nats.Conn) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second) // a question without the right to ask is not answered
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

// allowed is a server's list: an empty one allows everything that is not denied.
func allowed(list []string) []string {
	if len(list) == 0 {
		return []string{">"}
	}
	return list
}

// Lacks lists what of want is not among the rights, as "publish SUBJECT" and "subscribe to
// SUBJECT". Subjects that want itself denies in part are not compared.
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

// covers reports whether every subject that the second pattern matches, the first does too.
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
