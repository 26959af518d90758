package server_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// Each user learns its identity and has all the rights that it needs; missing rights are named.
func TestAUserCanAskTheBrokerForItsRights(t *testing.T) {
	t.Parallel()
	for name, g := range map[string]*guarded{"external": external(t), "embedded": embedded(t)} {
		g.t = t
		for _, u := range server.Users() {
			who, err := server.WhoAmI(t.Context(), g.connect(u))
			if err != nil || !strings.HasPrefix(who.User, "U") || !strings.HasPrefix(who.Account, "PGCOURIER") || who.Rights == nil {
				t.Errorf("%s: %s is %+v, %v", name, u, who, err)
				continue
			}
			if lacks := who.Rights.Lacks(u.Rights()); len(lacks) != 0 {
				t.Errorf("%s: %s lacks %q", name, u, lacks)
			}
			if other := server.UserVerifier; u != other && !slices.Contains(who.Rights.Lacks(other.Rights()), "publish "+events.VerifiedFilter) {
				t.Errorf("%s: %s may do what a verifier does", name, u)
			}
		}
	}
	who, err := server.WhoAmI(t.Context(), connect(t, shared.ClientURL()))
	if err != nil || who.Rights != nil {
		t.Errorf("a server without users: %+v, %v", who, err)
	}
	mute := brokertest.Raw(t, &natsd.Options{Host: "127.0.0.1", Port: brokertest.RandomPort, NoSystemAccount: true, NoLog: true, NoSigs: true})
	if who, err := server.WhoAmI(t.Context(), connect(t, mute.ClientURL())); !errors.Is(err, server.ErrNotTold) {
		t.Errorf("a server without a system account: %+v, %v", who, err)
	}
}

// At a leaf node the hub answers as well, and can be the first. Here the connection's own server
// never answers.
func TestTheAnswerOfAnotherServerIsNotTaken(t *testing.T) {
	t.Parallel()
	own := brokertest.Raw(t, &natsd.Options{Host: "127.0.0.1", Port: brokertest.RandomPort, NoSystemAccount: true, NoLog: true, NoSigs: true})
	nc := connect(t, own.ClientURL())
	asked := false
	if _, err := nc.Subscribe("$SYS.REQ.USER.INFO", func(m *nats.Msg) {
		asked = true
		if err := m.Respond([]byte(`{"server": {"id": "HUB"}, "data": {"user": "leaf", "account": "HUB", "permissions": {}}}`)); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	who, err := server.WhoAmI(t.Context(), nc)
	nc.Close() // no callback runs any more
	if !errors.Is(err, server.ErrNotTold) || !asked {
		t.Errorf("%+v, %v, asked: %v", who, err, asked)
	}
}

func TestRightsThatAreLacking(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		have  []string
		deny  []string
		want  string
		lacks bool
	}{
		{[]string{">"}, nil, "a.b", false}, {[]string{"a.*"}, nil, "a.b", false}, {[]string{"a.*"}, nil, "a.*", false},
		{[]string{"a.>"}, nil, "a.*.c", false}, {[]string{"a.*"}, nil, "a.>", true}, {[]string{"a.b"}, nil, "a.*", true},
		{[]string{"a.>"}, nil, "a", true}, {[]string{"a"}, nil, "a.b", true}, {[]string{"a.b.c"}, nil, "a.b", true},
		{[]string{">"}, []string{"a.*"}, "a.b", true}, {[]string{">"}, []string{"a.b"}, "a.*", false}, {nil, nil, "a", true},
	} {
		got := server.Rights{Publish: c.have, DenyPublish: c.deny}.Lacks(server.Rights{Publish: []string{c.want}})
		if (len(got) > 0) != c.lacks {
			t.Errorf("%q without %q for %s lacks %q", c.have, c.deny, c.want, got)
		}
		got = server.Rights{Subscribe: c.have, DenySubscribe: c.deny}.Lacks(server.Rights{Subscribe: []string{c.want}})
		if (len(got) > 0) != c.lacks {
			t.Errorf("to listen: %q without %q for %s lacks %q", c.have, c.deny, c.want, got)
		}
	}
}
