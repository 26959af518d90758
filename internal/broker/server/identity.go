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

// WhoAmI requests the identity of nc from the server that nc is connected to. Errors: ErrNotTold.
func WhoAmI(ctx context.Context, nc *nats.Conn) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second) // a request without permission is never answered
	defer cancel()
	said, err := askIdentity(ctx, nc)
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded) {
		return Identity{}, fmt.Errorf("%w: %w", ErrNotTold, err)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("ask the broker for one's rights: %w", err)
	}
	if said.Data.Account == "" {
		return Identity{}, fmt.Errorf("%w: its answer cannot be read", ErrNotTold)
	}
	identity := Identity{User: said.Data.User, Account: said.Data.Account}
	p := said.Data.Permissions
	if p == nil {
		return identity, nil
	}
	all := subjects{Allow: []string{">"}}
	publish, subscribe := &all, &all
	if p.Publish != nil {
		publish = p.Publish
	}
	if p.Subscribe != nil {
		subscribe = p.Subscribe
	}
	identity.Rights = &Rights{Publish: allowed(publish.Allow), DenyPublish: publish.Deny, Subscribe: allowed(subscribe.Allow), DenySubscribe: subscribe.Deny}
	return identity, nil
}

// subjects is a list of rights in an answer.
type subjects struct{ Allow, Deny []string }

// identityAnswer is what a server answers (UserInfo in nats-server's server/events.go).
type identityAnswer struct {
	Server struct{ ID string }
	Data   struct {
		User        string
		Account     string
		Permissions *struct{ Publish, Subscribe *subjects }
	}
}

// askIdentity returns the answer of nc's own server. At a leaf node the hub answers too, with the
// user and the rights of the leaf node's connection, and can be the first.
func askIdentity(ctx context.Context, nc *nats.Conn) (identityAnswer, error) {
	inbox := nc.NewInbox()
	replies, err := nc.SubscribeSync(inbox)
	if err != nil {
		return identityAnswer{}, err
	}
	defer func() { _ = replies.Unsubscribe() }() // the connection may be closed
	if err := nc.PublishRequest(ownRights, inbox, nil); err != nil {
		return identityAnswer{}, err
	}
	for {
		reply, err := replies.NextMsgWithContext(ctx)
		if err != nil {
			return identityAnswer{}, err
		}
		var said identityAnswer
		if err := json.Unmarshal(reply.Data, &said); err == nil && said.Server.ID == nc.ConnectedServerId() {
			return said, nil
		}
	}
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
