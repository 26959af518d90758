package server_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/internal/broker/server"
)

var update = flag.Bool("update", false, "rewrite the generated parts of docs")

// publisher is the user that an administrator adds for one project.
const publisher server.User = "publisher"

// all are the users of the table, in its order.
func all() []server.User {
	return slices.Insert(server.Users(), 1, publisher)
}

// act is one possible action, as the message to the server. The server decides by its subject
// alone.
type act struct {
	what    string
	listen  bool // else publish
	subject string
	may     string // the users that may, separated by spaces
}

// acts is the table of all possible actions and the users that may do each.
func acts() []act {
	publish := func(what, subject, may string) act { return act{what, false, subject, may} }
	listen := func(what, subject, may string) act { return act{what, true, subject, may} }
	api := func(what, call, may string) act { return publish(what, "$JS.API."+call, may) }
	return []act{
		publish("request an export of acme", "backup.requested.acme", "gateway publisher worker api operator"),
		publish("request an export of another project", "backup.requested.globex", "gateway worker api operator"),
		publish("request on the bare subject", "backup.requested", "gateway operator"),
		publish("cancel a request", "backup.cancel.r1", "gateway api operator"),
		listen("subscribe to the events of acme's requests", "backup.*.acme.*", "gateway publisher api operator"),
		listen("subscribe to the events of another project's requests", "backup.*.globex.*", "gateway api operator"),
		listen("subscribe to the events of all requests", "backup.*.*.*", "gateway api operator"),
		api("read a stored outcome", "STREAM.MSG.GET.BACKUP_OUTCOMES", "gateway worker api operator"),
		api("read a stored event", "STREAM.MSG.GET.BACKUP_EVENTS", "gateway api operator"),
		api("make a consumer of outcomes", "CONSUMER.CREATE.BACKUP_OUTCOMES.mine.backup.failed.>", "operator"),
		api("remove a consumer of outcomes", "CONSUMER.DELETE.BACKUP_OUTCOMES.mine", "operator"),
		api("take outcomes from it", "CONSUMER.MSG.NEXT.BACKUP_OUTCOMES.mine", "operator"),
		publish("acknowledge outcomes on it", "$JS.ACK.BACKUP_OUTCOMES.mine.1.1.1.1.0", "operator"),

		publish("call the API for acme", "backup.api.acme.cancel", "gateway publisher operator"),
		publish("call the API for another project", "backup.api.globex.status", "gateway operator"),
		publish("find the API's processes and their counts", "$SRV.STATS", "gateway operator"),
		listen("answer calls of the API", "backup.api.*.status", "api"),
		listen("subscribe to calls of the API for acme", "backup.api.acme.*", "api"),
		listen("answer as the API's discovery", "$SRV.PING.pgcourier-api", "api"),
		publish("announce a link", "backup.link_issued.acme.r1", "worker api operator"),
		publish("announce a download", "backup.downloaded.acme.r1", "worker api operator"),
		listen("subscribe to requests", "backup.requested.*", ""),
		listen("subscribe to the bare subject of requests", "backup.requested", ""),
		listen("subscribe to everything", ">", ""),
		api("read a waiting request", "STREAM.MSG.GET.BACKUP_REQUESTS", "worker api operator"),
		api("read a request on the bare subject", "STREAM.MSG.GET.BACKUP_INTAKE", "worker api operator"),
		api("read a request past the queue", "DIRECT.GET.BACKUP_REQUESTS", ""),
		api("take a request", "CONSUMER.MSG.NEXT.BACKUP_REQUESTS.export-worker", "worker"),
		publish("acknowledge a request", "$JS.ACK.BACKUP_REQUESTS.export-worker.1.1.1.1.0", "worker"),
		api("take a request on the bare subject", "CONSUMER.MSG.NEXT.BACKUP_INTAKE.intake", "worker"),
		publish("acknowledge it", "$JS.ACK.BACKUP_INTAKE.intake.1.1.1.1.0", "worker"),
		api("make a consumer of requests", "CONSUMER.CREATE.BACKUP_REQUESTS.mine", ""),
		api("make one by the older API", "CONSUMER.DURABLE.CREATE.BACKUP_REQUESTS.mine", ""),
		api("raise MaxDeliver of the workers' consumer", "CONSUMER.CREATE.BACKUP_REQUESTS.export-worker", ""),
		api("the same by the older API", "CONSUMER.DURABLE.CREATE.BACKUP_REQUESTS.export-worker", ""),
		api("delete the workers' consumer", "CONSUMER.DELETE.BACKUP_REQUESTS.export-worker", ""),
		api("pause the workers' consumer", "CONSUMER.PAUSE.BACKUP_REQUESTS.export-worker", ""),
		api("reset the workers' consumer", "CONSUMER.RESET.BACKUP_REQUESTS.export-worker", ""),
		api("unpin the workers' consumer", "CONSUMER.UNPIN.BACKUP_REQUESTS.export-worker", ""),

		publish("look up its own rights", "$SYS.REQ.USER.INFO", "gateway publisher worker notifier verifier restorer api operator"),
		publish("announce a completed export", "backup.completed.acme.r1", "worker"),
		publish("announce a failed export", "backup.failed.acme.r1", "worker"),
		publish("announce a start", "backup.started.acme.r1", "worker"),
		publish("announce a coming deletion", "backup.expiring.acme.r1", "worker operator"),
		publish("announce a deletion", "backup.expired.acme.r1", "worker operator"),
		publish("publish progress", "backup.progress.acme.r1", "worker"),
		publish("forward a cancel to the workers", "backup.cancelling.acme.r1", "worker"),
		listen("subscribe to cancels", "backup.cancel.*", "worker"),
		listen("answer cancels in place of a worker", "backup.cancel.r1", "worker"),
		publish("announce a verified export", "backup.verified.acme.r1", "verifier"),
		publish("announce a damaged export", "backup.verification_failed.acme.r1", "verifier"),
		api("take outcomes to verify", "CONSUMER.MSG.NEXT.BACKUP_OUTCOMES.verifier", "verifier"),
		publish("acknowledge them", "$JS.ACK.BACKUP_OUTCOMES.verifier.1.1.1.1.0", "verifier"),
		api("take outcomes to notify of", "CONSUMER.MSG.NEXT.BACKUP_OUTCOMES.notifier", "notifier"),
		publish("acknowledge those", "$JS.ACK.BACKUP_OUTCOMES.notifier.1.1.1.1.0", "notifier"),
		api("take failed verifications to notify of", "CONSUMER.MSG.NEXT.BACKUP_EVENTS.notifier-damaged", "notifier"),
		api("take coming deletions to notify of", "CONSUMER.MSG.NEXT.BACKUP_EVENTS.notifier-expiring", "notifier"),
		api("take events over another consumer", "CONSUMER.MSG.NEXT.BACKUP_EVENTS.x", ""),
		api("change the notifier's consumer", "CONSUMER.CREATE.BACKUP_OUTCOMES.notifier", ""),
		api("change it by the older API", "CONSUMER.DURABLE.CREATE.BACKUP_OUTCOMES.notifier", ""),
		api("change it by its filter", "CONSUMER.CREATE.BACKUP_OUTCOMES.notifier.backup.failed.>", ""),
		api("delete the notifier's consumer", "CONSUMER.DELETE.BACKUP_OUTCOMES.notifier", ""),
		api("change the verifier's consumer", "CONSUMER.CREATE.BACKUP_OUTCOMES.verifier.backup.completed.*.*", ""),
		api("delete the verifier's consumer", "CONSUMER.DELETE.BACKUP_OUTCOMES.verifier", ""),

		publish("request a restore into acme", "restore.requested.acme", "gateway api operator"),
		publish("cancel a restore", "restore.cancel.r1", "gateway api operator"),
		listen("subscribe to cancels of restores", "restore.cancel.*", "restorer"),
		listen("answer cancels of restores in place of a restorer", "restore.cancel.r1", "restorer"),
		listen("subscribe to requests for restores", "restore.requested.*", ""),
		listen("subscribe to the events of all restores", "restore.*.*.*", "gateway api operator"),
		api("read the stored outcome of a restore", "STREAM.MSG.GET.RESTORE_OUTCOMES", "gateway api operator"),
		api("read a stored event of a restore", "STREAM.MSG.GET.RESTORE_EVENTS", "gateway api operator"),
		api("read a waiting request for a restore", "STREAM.MSG.GET.RESTORE_REQUESTS", "restorer api operator"),
		api("take a request for a restore", "CONSUMER.MSG.NEXT.RESTORE_REQUESTS.restorer", "restorer"),
		publish("acknowledge a request for a restore", "$JS.ACK.RESTORE_REQUESTS.restorer.1.1.1.1.0", "restorer"),
		api("remove a request for a restore", "STREAM.MSG.DELETE.RESTORE_REQUESTS", "restorer"),
		api("remove the outcome of a restore", "STREAM.MSG.DELETE.RESTORE_OUTCOMES", ""),
		publish("announce a completed restore", "restore.completed.acme.r1", "restorer"),
		publish("announce a failed restore", "restore.failed.acme.r1", "restorer"),
		publish("announce the start of a restore", "restore.started.acme.r1", "restorer"),
		publish("publish the progress of a restore", "restore.progress.acme.r1", "restorer"),

		publish("queue a notification", "backup_notification.email.k1", "notifier api operator"),
		publish("record a notification's state", "$KV.BACKUP_NOTIFICATION_STATES.k1", "notifier api operator"),
		publish("record it in the stream of earlier versions", "backup_notification_state.k1", "notifier api operator"),
		api("take a notification", "CONSUMER.MSG.NEXT.BACKUP_NOTIFICATIONS.notify-email", "notifier"),
		publish("acknowledge a notification", "$JS.ACK.BACKUP_NOTIFICATIONS.notify-email.1.1.1.1.0", "notifier"),
		api("read a notification", "STREAM.MSG.GET.BACKUP_NOTIFICATIONS", "notifier api operator"),
		api("read a notification's state", "STREAM.MSG.GET.KV_BACKUP_NOTIFICATION_STATES", "notifier api operator"),
		api("read it in the stream of earlier versions", "STREAM.MSG.GET.BACKUP_NOTIFICATION_STATES", "notifier api operator"),
		api("list the notifications' states", "CONSUMER.CREATE.KV_BACKUP_NOTIFICATION_STATES.x", "operator"),
		api("remove the notifications' states", "STREAM.DELETE.KV_BACKUP_NOTIFICATION_STATES", ""),

		publish("write a schedule", "backup.schedule.acme.nightly", "api operator"),
		publish("make a schedule due", "backup.schedule.acme.nightly.due", ""),
		api("read a schedule", "STREAM.MSG.GET.BACKUP_SCHEDULES", "api operator"),
		api("remove a schedule", "STREAM.PURGE.BACKUP_SCHEDULES", "api operator"),
		api("take due messages", "CONSUMER.MSG.NEXT.BACKUP_SCHEDULES.due", "worker"),
		publish("acknowledge due messages", "$JS.ACK.BACKUP_SCHEDULES.due.1.1.1.1.0", "worker"),
		listen("subscribe to due messages", "backup.schedule.*.*.due", ""),

		api("see how full the queue is", "STREAM.INFO.BACKUP_REQUESTS", "worker notifier verifier restorer api operator"),
		api("see how the workers' consumer is set up", "CONSUMER.INFO.BACKUP_REQUESTS.export-worker", "worker notifier verifier restorer api operator"),
		api("remove a message from the queue", "STREAM.MSG.DELETE.BACKUP_REQUESTS", "worker"),
		api("remove a message of the intake", "STREAM.MSG.DELETE.BACKUP_INTAKE", ""),
		api("remove an outcome", "STREAM.MSG.DELETE.BACKUP_OUTCOMES", ""),
		api("purge the queue", "STREAM.PURGE.BACKUP_REQUESTS", ""),
		api("purge the outcomes", "STREAM.PURGE.BACKUP_OUTCOMES", ""),
		api("delete the queue", "STREAM.DELETE.BACKUP_REQUESTS", ""),
		api("delete the outcomes", "STREAM.DELETE.BACKUP_OUTCOMES", ""),
		api("change the queue", "STREAM.UPDATE.BACKUP_REQUESTS", ""),
		api("change the outcomes", "STREAM.UPDATE.BACKUP_OUTCOMES", ""),
		api("make a stream", "STREAM.CREATE.MINE", ""),
		api("take a snapshot of the queue", "STREAM.SNAPSHOT.BACKUP_REQUESTS", ""),
		api("put a stream back", "STREAM.RESTORE.MINE", ""),
		api("move the stream's leader", "STREAM.LEADER.STEPDOWN.BACKUP_REQUESTS", ""),
		api("purge the account", "ACCOUNT.PURGE.PGCOURIER", ""),

		listen("subscribe to the broker's advisories of the queue", "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.BACKUP_REQUESTS.>", "worker"),
		api("read a stored advisory", "STREAM.MSG.GET.BACKUP_ADVISORIES", "worker operator"),
		publish("forge an advisory", "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.BACKUP_REQUESTS.export-worker", ""),
		listen("subscribe to the calls of the API", "$JS.API.>", ""),
		listen("subscribe to acknowledgements", "$JS.ACK.>", ""),
		listen("read the gateway's replies", "_INBOX_gateway.>", "gateway"),
		listen("read the publisher's replies", "_INBOX_gateway_acme.>", "publisher"),
		listen("read the worker's replies", "_INBOX_worker.>", "worker"),
		listen("read the notifier's replies", "_INBOX_notifier.>", "notifier"),
		listen("read the verifier's replies", "_INBOX_verifier.>", "verifier"),
		listen("read the restorer's replies", "_INBOX_restorer.>", "restorer"),
		listen("read the API's replies", "_INBOX_api.>", "api"),
		listen("read the operator's replies", "_INBOX_operator.>", "operator"),
		listen("read the administrator's replies", "_INBOX_admin.>", ""),
		listen("read the replies of all users", "_INBOX.>", ""),
		listen("subscribe to the system's events", "$SYS.>", ""),
		publish("send a request to the server's system account", "$SYS.REQ.SERVER.PING", ""),
		publish("publish anywhere else", "elsewhere", ""),
	}
}

// try performs the action and returns the server's refusal.
func (a act) try(t *testing.T, g *guarded, u server.User) error {
	t.Helper()
	nc := g.connect(u)
	defer nc.Close()
	if !a.listen {
		must(t, nc.Publish(a.subject, nil))
		return refusal(t, nc)
	}
	_, err := nc.SubscribeSync(a.subject)
	must(t, err)
	return refusal(t, nc)
}

// Each user may do what the table says and nothing else, on a server with a configuration file and
// on the embedded one. The document shows the same table.
func TestRights(t *testing.T) {
	t.Parallel()
	for name, g := range map[string]*guarded{"external": external(t), "embedded": embedded(t)} {
		t.Run(name, func(t *testing.T) {
			g.t = t
			for _, a := range acts() {
				for _, u := range all() {
					if u == publisher && name == "embedded" {
						continue
					}
					err := a.try(t, g, u)
					may := slices.Contains(strings.Fields(a.may), string(u))
					if may && err != nil || !may && !errors.Is(err, nats.ErrPermissionViolation) {
						t.Errorf("%s: %s (%s): %v", u, a.what, a.subject, err)
					}
				}
			}
		})
	}
}

func TestTheDocumentShowsTheRights(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("| |")
	for _, u := range all() {
		fmt.Fprintf(&b, " %s |", u)
	}
	b.WriteString("\n|---|" + strings.Repeat(":-:|", len(all())) + "\n")
	for _, a := range acts() {
		fmt.Fprintf(&b, "| %s |", a.what)
		for _, u := range all() {
			mark := " "
			if slices.Contains(strings.Fields(a.may), string(u)) {
				mark = " yes "
			}
			b.WriteString(mark + "|")
		}
		b.WriteString("\n")
	}
	checkPart(t, filepath.Join("..", "..", "..", "docs", "broker.md"), "rights", b.String())
}

// checkPart compares the part of a document between two marks, or with -update writes it.
func checkPart(t *testing.T, file, name, want string) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	before, rest, ok := strings.Cut(string(text), begin)
	old, after, ok2 := strings.Cut(rest, end)
	switch {
	case !ok || !ok2:
		t.Fatalf("%s lacks the part %q", file, name)
	case old == want:
	case *update:
		must(t, os.WriteFile(file, []byte(before+begin+want+end+after), 0o600))
	default:
		t.Errorf("%s is not up to date: go test ./internal/broker/server -run TheDocumentShows -update", file)
	}
}
