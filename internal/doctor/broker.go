package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
)

// brokerParts are what depends on a connection.
var brokerParts = []string{"streams", "schedules", "limits", "clock"}

// checkBroker connects as each user that the roles here work as, and looks at everything as
// the first of them.
func (x *examiner) checkBroker(ctx context.Context, r *Report) {
	x.checkSync(r)
	users := setup.Users(x.Settings)
	var first *nats.Conn
	for _, user := range users {
		nc, err := setup.Connect(x.Settings, user, x.log)
		if err != nil {
			part := string(user)
			if first == nil {
				part = ""
			}
			r.Add(part, x.brokerFinding(err))
			if first == nil {
				break
			}
			continue
		}
		defer nc.Close()
		if first == nil {
			first = nc
		}
		x.checkIdentity(ctx, nc, user, r)
		if setup.KeysDir(x.Settings) == "" {
			break // one login for all
		}
	}
	if first == nil {
		for _, part := range brokerParts {
			r.Skip(part, "the broker cannot be used")
		}
		return
	}
	r.OK("", "nats-server %s at %s", first.ConnectedServerVersion(), first.ConnectedUrlRedacted())
	if state, err := first.TLSConnectionState(); err == nil && len(state.PeerCertificates) > 0 {
		r.Add("certificate", Certificate(state.PeerCertificates[0], x.Now()))
	}
	js, err := setup.JetStream(x.Settings, first)
	if err != nil {
		r.Add("streams", errorFinding(err, "PGCOURIER_NATS_URL", "correct PGCOURIER_NATS_URL"))
		return
	}
	account, there := x.checkLimits(ctx, js, r)
	if !there {
		return
	}
	x.checkStreams(ctx, js, account, r)
	theirs, ours, margin, err := broker.Clock(ctx, js, x.Now)
	if err != nil {
		r.Add("clock", Finding{State: Unknown, Found: "the broker's time comes with its streams, which could not be read"})
		return
	}
	r.Add("clock", Skew("the broker's", theirs.Sub(ours), margin))
}

func (x *examiner) brokerFinding(err error) Finding {
	f := Finding{State: Fault, Found: err.Error()}
	key, isKey := errors.AsType[*server.KeyError](err)
	switch {
	case isKey:
		f.Fix = "see docs/broker.md: the folder of keys must hold " + string(key.User) + ".nk, readable for this user"
	case errors.Is(err, broker.ErrUnauthorized):
		f.Fix = "give the broker this user's key or password, or correct PGCOURIER_NATS_KEYS, NATS_NKEY, NATS_CREDS or NATS_URL: see docs/broker.md"
	case errors.Is(err, server.ErrNoServer):
		f.State, f.Fix = Unreachable, "start `pgcourier serve` with the same DATA_DIR, or set PGCOURIER_NATS_URL"
	case untrusted(err):
		f.Fix = "set PGCOURIER_NATS_TLS_CA to the authority that signed the broker's certificate, or use the host name that it is for"
	case errors.Is(err, broker.ErrUnreachable):
		f.State, f.Fix = Unreachable, "is it running, and can this machine reach it? Its address is in PGCOURIER_NATS_URL"
	default:
		f.Fix = "correct the settings of the broker (PGCOURIER_NATS_...): see docs/broker.md"
	}
	return f
}

// checkSync says whether what the broker acknowledged survives a power failure. The protocol
// for clients does not tell.
func (x *examiner) checkSync(r *Report) {
	if x.Settings.NATSURL == "" {
		r.OK("sync", "the embedded broker writes to the disk before it acknowledges")
		return
	}
	r.Add("sync", Finding{
		State: Unknown, Found: "a client cannot see how the broker syncs; nats-server's default may lose two minutes at a power failure",
		Fix: "look for sync_interval: always in the jetstream block of its configuration",
	})
}

// checkIdentity holds the rights that the broker says this login has against what the user
// needs, or all users where there is one login for all.
func (x *examiner) checkIdentity(ctx context.Context, nc *nats.Conn, user server.User, r *Report) {
	part, wanted := string(user), []server.User{user}
	if setup.KeysDir(x.Settings) == "" {
		part, wanted = "login", setup.Users(x.Settings)
	}
	login, err := server.WhoAmI(ctx, nc)
	if err != nil {
		r.Add(part, Finding{State: Unknown, Found: err.Error(), Fix: "let it publish on $SYS.REQ.USER.INFO, as `pgcourier broker config` does"})
		return
	}
	name := login.User
	if name == "" {
		name = "a user without a name"
	}
	if login.Rights == nil {
		r.OK(part, "%s in account %s, which has unlimited rights", name, login.Account)
		return
	}
	lacks, calls := x.missingRights(*login.Rights, wanted)
	switch {
	case len(lacks) > 0:
		r.Add(part, Finding{
			State: Fault, Found: fmt.Sprintf("%s in account %s may not %s", name, login.Account, strings.Join(lacks, ", ")),
			Fix: "grant it on the broker: `pgcourier broker config` prints the rights that each user needs",
		})
	case !calls:
		r.Add(part, x.withoutCalls(name, login.Account))
	default:
		r.OK(part, "%s in account %s has the rights that it needs", name, login.Account)
	}
}

// missingRights lists what a login lacks of the rights that users need. calls is false if one of them is the
// role api's and may not listen for calls over NATS: it then serves HTTP only, and lacks nothing for that.
func (x *examiner) missingRights(have server.Rights, users []server.User) (lacks []string, calls bool) {
	calls = true
	dir := setup.KeysDir(x.Settings)
	for _, u := range users {
		rights := u.Rights()
		if u == server.UserAPI && len(have.Lacks(server.Rights{Subscribe: []string{events.CallFilter}})) > 0 {
			rights, calls = rights.WithoutCalls(), false
		}
		if dir == "" || setup.KeyOf(dir, u) != u { // its replies come elsewhere
			rights.Subscribe = slices.DeleteFunc(rights.Subscribe, func(s string) bool { return s == u.InboxPrefix()+".>" })
		}
		for _, l := range have.Lacks(rights) {
			if !slices.Contains(lacks, l) {
				lacks = append(lacks, l)
			}
		}
	}
	return lacks, calls
}

// withoutCalls is the finding where the role api answers no calls over NATS.
func (x *examiner) withoutCalls(name, account string) Finding {
	f := Finding{
		State: Warning, Found: fmt.Sprintf("%s in account %s may not listen for calls: the role api answers over HTTP only", name, account),
		Fix: "grant it on the broker: `pgcourier broker config` prints the rights of the user api",
	}
	dir := setup.KeysDir(x.Settings)
	switch {
	case dir == "" || setup.KeyOf(dir, server.UserAPI) == server.UserAPI:
		return f
	case x.Settings.NATSURL == "":
		f.Fix = "start the process with the embedded broker again: it makes the key"
	default:
		f.Fix = "run `pgcourier broker config`, which makes the key, and load what it prints"
	}
	f.Found = fmt.Sprintf("%s has no key of the role api: it logs in with the operator's, which has more rights than it needs, and answers over HTTP only", dir)
	f.Fix += ": see docs/broker.md"
	return f
}

// setUpFix is the same for everything that differs.
const setUpFix = "run `pgcourier broker setup` as the broker's administrator with the workers' settings, or give the workers the broker's"

// checkStreams names each stream and consumer that differs from what is needed, field by
// field.
func (x *examiner) checkStreams(ctx context.Context, js jetstream.JetStream, account *jetstream.AccountInfo, r *Report) {
	want := setup.Topology(x.Settings)
	found, err := broker.Inspect(ctx, js, want)
	switch {
	case errors.Is(err, broker.ErrTooOld):
		r.Add("streams", Finding{State: Fault, Found: err.Error(), Fix: "update nats-server"})
	case err != nil:
		r.Add("streams", Finding{State: Fault, Found: err.Error(), Fix: "let this user look: publish on $JS.API.STREAM.INFO.* and $JS.API.CONSUMER.INFO.*.*"})
	case len(found) == 0:
		r.OK("streams", "all streams and consumers are as needed")
	}
	reportDrift(r, found)
	x.checkRoom(account, found, r)
	for _, o := range broker.Look(ctx, js, want, x.Settings.Serves(config.RoleIntake)) {
		switch o.Kind {
		case broker.Paused:
			stream, consumer, _ := strings.Cut(o.Object, "/")
			r.Add("streams/"+o.Object, Finding{State: Fault, Found: o.String(), Fix: "nats consumer resume " + stream + " " + consumer})
		case broker.Silent:
			r.Add("streams/"+o.Object, Finding{State: Unreachable, Found: fmt.Sprintf("%s: %v", o, o.Err), Fix: "check whether the cluster has a majority: see the servers' logs"})
		case broker.Missing: // said above
		}
	}
	if !x.Settings.Serves(config.RoleIntake) {
		r.Skip("schedules", "the roles here serve none")
		return
	}
	found, err = broker.InspectSchedules(ctx, js, want)
	switch {
	case errors.Is(err, broker.ErrNoSchedules):
		r.Add("schedules", Finding{State: Warning, Found: err.Error(), Fix: "update nats-server, or use another scheduler: see docs/schedules.md"})
	case errors.Is(err, broker.ErrNotSetUp):
		r.Add("schedules", Finding{State: Warning, Found: err.Error(), Fix: setUpFix})
	case err != nil:
		r.Add("schedules", errorFinding(err, "PGCOURIER_NATS_URL", setUpFix))
	case len(found) == 0:
		r.OK("schedules", "the broker holds schedules")
	}
	reportDrift(r, found)
}

// reportDrift makes one finding of each stream or consumer.
func reportDrift(r *Report, all []broker.Difference) {
	objects := []string{}
	says := map[string][]string{}
	for _, d := range all {
		if !slices.Contains(objects, d.Object) {
			objects = append(objects, d.Object)
		}
		text := "is missing"
		if d.Field != "" {
			text = fmt.Sprintf("%s is %s, needed is %s", d.Field, d.Got, d.Want)
		}
		says[d.Object] = append(says[d.Object], text)
	}
	for _, o := range objects {
		r.Add("streams/"+o, Finding{State: Fault, Found: strings.Join(says[o], "; "), Fix: setUpFix})
	}
}
