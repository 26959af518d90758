package server

import (
	"fmt"
	"slices"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
)

// User is one of the broker's users, each with only the rights that it needs.
type User string

// The users. All but UserAdmin are the broker's for good; what an administrator may is
// everything within the account, and the embedded server's has no key on disk.
const (
	// UserGateway asks for exports of any project, cancels them, and reads what became of
	// them. It cannot read requests.
	UserGateway User = "gateway"
	// UserWorker runs exports: the roles intake, worker, sweeper and pruner.
	UserWorker User = "worker"
	// UserNotifier reads outcomes, and has the notifications to itself.
	UserNotifier User = "notifier"
	// UserVerifier reads outcomes, and announces what it found.
	UserVerifier User = "verifier"
	// UserAPI answers calls over HTTP and NATS: the role api.
	UserAPI User = "api"
	// UserOperator is the command line's: it watches, cancels, replays, looks into queues
	// and makes consumers of outcomes.
	UserOperator User = "operator"
	// UserAdmin makes the streams and consumers.
	UserAdmin User = "admin"
)

// Users lists those with limited rights, in the order of the documents.
func Users() []User {
	return []User{UserGateway, UserWorker, UserNotifier, UserVerifier, UserAPI, UserOperator}
}

// InboxPrefix returns the prefix of the user's reply subjects. Other users may not subscribe there.
func (u User) InboxPrefix() string { return "_INBOX_" + string(u) }

// Rights are subjects that a user may publish to and listen on. A denial wins over a permission. No
// user may do anything that is not allowed.
type Rights struct {
	Publish, DenyPublish     []string
	Subscribe, DenySubscribe []string
	// Respond is how many answers each message that was received may get. 0: none.
	Respond int
}

// The JetStream API.
const (
	api = "$JS.API."
)

func streamInfo(stream string) string { return api + "STREAM.INFO." + stream }
func readMsg(stream string) string    { return api + "STREAM.MSG.GET." + stream }

// consume is the right to take messages from a durable consumer and to settle them.
func consume(stream, consumer string) []string {
	return []string{api + "CONSUMER.MSG.NEXT." + stream + "." + consumer, "$JS.ACK." + stream + "." + consumer + ".>"}
}

// setup is the right to see how streams and consumers are set up, and how full they are,
// not what they hold: each process checks at its start that it finds what it needs.
func setup() []string {
	return []string{streamInfo("*"), api + "CONSUMER.INFO.*.*", api + "INFO"}
}

// each returns f of each of names.
func each[T any](f func(string) T, names []string) []T {
	out := make([]T, 0, len(names))
	for _, name := range names {
		out = append(out, f(name))
	}
	return out
}

// reading is what a reader of outcomes needs of the API.
func reading() []string {
	return []string{
		api + "INFO", streamInfo(events.StreamOutcomes), streamInfo(events.StreamEvents),
		readMsg(events.StreamOutcomes), readMsg(events.StreamEvents),
	}
}

// announcements are the subjects of all live events about one request each: a follower of a request
// subscribes to all of them with one wildcard. Other subjects with as many tokens are not imported:
// a schedule, which holds a request, is no announced event.
const announcements = "backup.*.*.*"

// discovery holds the subjects on which services of NATS say what they are and count their calls.
// The counts are over all projects, so a publisher of one project may not ask for them.
const discovery = "$SRV.>"

// noCalls keeps a wildcard over announcements from hearing calls of the API, whose subjects have as
// many tokens: a call can hold a request.
const noCalls = events.TypeCall + ".>"

// Rights returns what u may do.
func (u User) Rights() Rights {
	r := Rights{Subscribe: []string{u.InboxPrefix() + ".>"}}
	switch u {
	case UserGateway:
		r.Publish = slices.Concat([]string{events.TypeRequested, events.RequestedFilter, events.CancelFilter, events.CallFilter, discovery}, reading())
		r.Subscribe, r.DenySubscribe = append(r.Subscribe, announcements), []string{noCalls}
	case UserWorker:
		r = workerRights(r)
	case UserNotifier:
		r.Publish = slices.Concat(
			[]string{broker.NotificationSubject("*", "*")}, broker.NotificationStateSubjects(), setup(),
			consume(events.StreamOutcomes, events.ConsumerNotifier), consume(events.StreamNotifications, "*"),
			consume(events.StreamEvents, events.ConsumerNotifierDamaged), consume(events.StreamEvents, events.ConsumerNotifierExpiring),
			consume(events.StreamEvents, events.ConsumerNotifierLinks),
			[]string{readMsg(events.StreamNotifications)}, each(readMsg, broker.NotificationStateStreams()),
		)
	case UserVerifier:
		r.Publish = slices.Concat(
			[]string{events.VerifiedFilter, events.VerificationFailedFilter}, setup(),
			consume(events.StreamOutcomes, events.ConsumerVerifier),
		)
	case UserAPI:
		r = apiRights(r)
	case UserOperator:
		r = operatorRights(r)
	case UserAdmin:
		r.Publish, r.Subscribe = []string{">"}, []string{">"}
	}
	return r
}

func workerRights(r Rights) Rights {
	r.Publish = slices.Concat(
		[]string{ // the intake moves requests to their projects' subjects
			events.RequestedFilter, events.StartedFilter, events.ProgressFilter, events.CompletedFilter, events.FailedFilter,
			events.ExpiringFilter, events.ExpiredFilter, events.CancellingFilter,
			events.LinkIssuedFilter, events.DownloadedFilter, events.LinkRevokedFilter, events.LinkExpiredFilter,
		}, setup(),
		consume(events.StreamRequests, events.ConsumerExport), consume(events.StreamIntake, events.ConsumerIntake),
		consume(events.StreamSchedules, events.ConsumerDue),
		[]string{ // the sweeper and cancels look into the queues; dead messages are removed
			readMsg(events.StreamRequests), readMsg(events.StreamIntake), readMsg(events.StreamAdvisories),
			api + "STREAM.MSG.DELETE." + events.StreamRequests,
		},
	)
	r.Subscribe = append(r.Subscribe, events.CancelFilter, events.CancellingFilter,
		"$JS.EVENT.ADVISORY.CONSUMER.*."+events.StreamRequests+".>")
	r.Respond = 1 // to cancels
	return r
}

// apiRights are those of a gateway of all projects that also looks into the queue, announces links and
// keeps schedules.
func apiRights(r Rights) Rights {
	r.Publish = slices.Concat(
		[]string{
			events.RequestedFilter, events.CancelFilter,
			events.LinkIssuedFilter, events.DownloadedFilter, events.LinkRevokedFilter, events.LinkExpiredFilter,
			// As the operator's: a schedule is removed by a purge of its subject.
			events.ScheduleFilter, api + "STREAM.PURGE." + events.StreamSchedules,
		}, setup(),
		each(readMsg, []string{events.StreamOutcomes, events.StreamEvents, events.StreamRequests, events.StreamIntake, events.StreamSchedules}),
	)
	r.Subscribe = append(r.Subscribe, announcements, events.CallFilter, discovery)
	r.Respond = broker.ServiceInstances // to discovery: they share a connection
	return r
}

// operatorRights: consumers of outcomes are the operator's to make and to remove, but for
// those that the notifier and the verifier work with.
func operatorRights(r Rights) Rights {
	of := func(stream string) []string {
		return []string{
			api + "CONSUMER.CREATE." + stream + ".>", api + "CONSUMER.DURABLE.CREATE." + stream + ".*",
			api + "CONSUMER.DELETE." + stream + ".*", api + "CONSUMER.NAMES." + stream, api + "CONSUMER.LIST." + stream,
			api + "CONSUMER.MSG.NEXT." + stream + ".*", "$JS.ACK." + stream + ".>",
		}
	}
	r.Publish = slices.Concat(
		[]string{
			events.TypeRequested, events.RequestedFilter, events.CancelFilter, events.CallFilter, discovery,
			broker.NotificationSubject("*", "*"),
			events.ExpiringFilter, events.ExpiredFilter, // prune
			events.LinkIssuedFilter, events.DownloadedFilter, events.LinkRevokedFilter, events.LinkExpiredFilter,
			// Only the broker writes due messages; a schedule is removed by a purge of its subject.
			events.ScheduleFilter, readMsg(events.StreamSchedules), api + "STREAM.PURGE." + events.StreamSchedules,
			api + "STREAM.NAMES", api + "STREAM.LIST",
		}, broker.NotificationStateSubjects(), setup(),
		[]string{
			readMsg(events.StreamOutcomes), readMsg(events.StreamEvents), readMsg(events.StreamRequests), readMsg(events.StreamIntake),
			readMsg(events.StreamNotifications), readMsg(events.StreamAdvisories),
		},
		each(readMsg, broker.NotificationStateStreams()),
		of(events.StreamOutcomes), slices.Concat(each(of, broker.NotificationStateStreams())...),
	)
	for _, name := range []string{events.ConsumerNotifier, events.ConsumerVerifier} {
		at := events.StreamOutcomes + "." + name
		r.DenyPublish = append(r.DenyPublish,
			api+"CONSUMER.CREATE."+at, api+"CONSUMER.CREATE."+at+".>", api+"CONSUMER.DURABLE.CREATE."+at,
			api+"CONSUMER.DELETE."+at, api+"CONSUMER.MSG.NEXT."+at, "$JS.ACK."+at+".>",
		)
	}
	r.Subscribe, r.DenySubscribe = append(r.Subscribe, announcements), []string{noCalls}
	return r
}

// PublisherRights are those of a publisher of one project: it asks for exports of that project, hears
// what becomes of them, and calls the API for them, and for no other project. It cancels by a call of the
// API, because the subject of the workers' cancels names no project. Its replies come under
// PublisherInbox.
func PublisherRights(project string) (Rights, error) {
	if !events.ValidProject(project) {
		return Rights{}, fmt.Errorf("%q is not a project id", project)
	}
	return Rights{
		Publish:       []string{events.RequestSubject(project), events.CallSubject(project, "*")},
		Subscribe:     []string{PublisherInbox(project) + ".>", "backup.*." + project + ".*"},
		DenySubscribe: []string{noCalls},
	}, nil
}

// PublisherInbox is the inbox prefix of a project's publisher.
func PublisherInbox(project string) string { return "_INBOX_gateway_" + project }
