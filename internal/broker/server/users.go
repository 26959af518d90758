package server

import (
	"fmt"
	"slices"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
)

// User is one of the broker's users. Each has only the rights that it needs.
type User string

// The users. The rights of all but UserAdmin are limited. UserAdmin has all rights within the
// account, and the embedded server's UserAdmin has no key on disk.
const (
	// UserGateway requests exports of any project, cancels them, and reads their events. It cannot
	// read requests.
	UserGateway User = "gateway"
	// UserWorker runs exports: the roles intake, worker, sweeper and pruner.
	UserWorker User = "worker"
	// UserNotifier reads outcomes and delivers the notifications.
	UserNotifier User = "notifier"
	// UserVerifier reads outcomes and publishes the results of verifications.
	UserVerifier User = "verifier"
	// UserRestorer runs restores.
	UserRestorer User = "restorer"
	// UserAPI answers calls over HTTP and NATS: the role api.
	UserAPI User = "api"
	// UserOperator is the user of the command line: it follows, cancels and replays exports, reads
	// queues and creates consumers of outcomes.
	UserOperator User = "operator"
	// UserAdmin creates the streams and consumers.
	UserAdmin User = "admin"
)

// Users returns the users with limited rights, in the order of the documentation.
func Users() []User {
	return []User{UserGateway, UserWorker, UserNotifier, UserVerifier, UserRestorer, UserAPI, UserOperator}
}

// InboxPrefix returns the prefix of the user's reply subjects. Other users may not subscribe to it.
func (u User) InboxPrefix() string { return "_INBOX_" + string(u) }

// Rights are the subjects that a user may publish to and subscribe to. A denial takes precedence
// over a permission. Everything that is not allowed is denied.
type Rights struct {
	Publish, DenyPublish     []string
	Subscribe, DenySubscribe []string
	// Respond bounds the answers to each received message. 0: none.
	Respond int
}

// The JetStream API.
const (
	api = "$JS.API."
)

func streamInfo(stream string) string { return api + "STREAM.INFO." + stream }
func readMsg(stream string) string    { return api + "STREAM.MSG.GET." + stream }

// consume returns the rights to pull messages from a durable consumer and to settle them.
func consume(stream, consumer string) []string {
	return []string{api + "CONSUMER.MSG.NEXT." + stream + "." + consumer, "$JS.ACK." + stream + "." + consumer + ".>"}
}

// setup returns the rights to read the configuration and fill level of streams and consumers, but
// not their messages: each process checks at its start that the required ones exist.
func setup() []string {
	return []string{streamInfo("*"), api + "CONSUMER.INFO.*.*", api + "INFO"}
}

// each returns f of each name.
func each[T any](f func(string) T, names []string) []T {
	out := make([]T, 0, len(names))
	for _, name := range names {
		out = append(out, f(name))
	}
	return out
}

// reading returns the rights on the API for a reader of outcomes.
func reading() []string {
	return []string{
		api + "INFO", streamInfo(events.StreamOutcomes), streamInfo(events.StreamEvents),
		readMsg(events.StreamOutcomes), readMsg(events.StreamEvents),
		streamInfo(events.StreamRestoreOutcomes), streamInfo(events.StreamRestoreEvents),
		readMsg(events.StreamRestoreOutcomes), readMsg(events.StreamRestoreEvents),
	}
}

// announcements are the subjects of all live events about one request: a follower of a request
// subscribes to all of them with one wildcard. Other subjects with as many tokens, such as a
// schedule with its request, are not imported.
const announcements = "backup.*.*.*"

// restoreAnnouncements are the subjects of all live events about one restore.
const restoreAnnouncements = "restore.*.*.*"

// discovery holds the subjects of the discovery and the statistics of NATS services. The statistics
// cover all projects, so the publisher of one project has no right to them.
const discovery = "$SRV.>"

// noCalls excludes the calls of the API from a wildcard over announcements. The subjects of calls
// have as many tokens, and a call can contain a request.
const noCalls = events.TypeCall + ".>"

// Rights returns the rights of u.
func (u User) Rights() Rights {
	r := Rights{Subscribe: []string{u.InboxPrefix() + ".>"}}
	switch u {
	case UserGateway:
		r.Publish = slices.Concat([]string{events.TypeRequested, events.RequestedFilter, events.RestoreRequestedFilter, events.CancelFilter, events.RestoreCancelFilter, events.CallFilter, discovery}, reading())
		r.Subscribe, r.DenySubscribe = append(r.Subscribe, announcements, restoreAnnouncements), []string{noCalls}
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
	case UserRestorer:
		r.Publish = slices.Concat(
			[]string{events.RestoreStartedFilter, events.RestoreProgressFilter, events.RestoreCompletedFilter, events.RestoreFailedFilter}, setup(),
			consume(events.StreamRestores, events.ConsumerRestore),
			[]string{readMsg(events.StreamRestores), api + "STREAM.MSG.DELETE." + events.StreamRestores}, // its sweeps, and cancels
		)
		r.Subscribe = append(r.Subscribe, events.RestoreCancelFilter)
		r.Respond = 1
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
		[]string{ // the sweeper and cancels read the queues and outcomes, and remove messages
			readMsg(events.StreamOutcomes), readMsg(events.StreamRequests), readMsg(events.StreamIntake), readMsg(events.StreamAdvisories),
			api + "STREAM.MSG.DELETE." + events.StreamRequests,
		},
	)
	r.Subscribe = append(r.Subscribe, events.CancelFilter, events.CancellingFilter,
		"$JS.EVENT.ADVISORY.CONSUMER.*."+events.StreamRequests+".>")
	r.Respond = 1 // to a cancel
	return r
}

// apiRights adds the rights of the role api to those of a gateway for all projects: it also reads
// the queue, announces links, stores schedules and replays notifications.
func apiRights(r Rights) Rights {
	r.Publish = slices.Concat(
		[]string{
			events.RequestedFilter, events.RestoreRequestedFilter, events.CancelFilter, events.RestoreCancelFilter,
			events.LinkIssuedFilter, events.DownloadedFilter, events.LinkRevokedFilter, events.LinkExpiredFilter,
			// As for the operator: a schedule is removed by a purge of its subject.
			events.ScheduleFilter, api + "STREAM.PURGE." + events.StreamSchedules,
		}, setup(),
		each(readMsg, []string{events.StreamOutcomes, events.StreamEvents, events.StreamRequests, events.StreamIntake, events.StreamSchedules, events.StreamRestores, events.StreamRestoreOutcomes, events.StreamRestoreEvents}),
		ReadNotifications(), ReplayNotifications(),
	)
	r.Subscribe = append(r.Subscribe, announcements, restoreAnnouncements, events.CallFilter, discovery)
	// A discovery is delivered to each instance, and all of them share one connection. nats-server counts
	// each delivery after the first, and each answer (v2.15.3, client.go, deliverMsg).
	r.Respond = 2*broker.ServiceInstances - 1
	return r
}

// ReadNotifications returns the subjects to publish on for reading the states of notifications by
// their positions.
func ReadNotifications() []string { return each(readMsg, broker.NotificationStateStreams()) }

// ReplayNotifications returns the subjects to publish on for putting a parked notification into the
// queue again. Its event is read from the streams of outcomes and events.
func ReplayNotifications() []string {
	return slices.Concat([]string{broker.NotificationSubject("*", "*"), readMsg(events.StreamNotifications)}, broker.NotificationStateSubjects())
}

// WithoutCalls returns r without the rights to answer calls over NATS. The role api serves HTTP without them.
func (r Rights) WithoutCalls() Rights {
	r.Subscribe = slices.DeleteFunc(slices.Clone(r.Subscribe), func(s string) bool { return s == events.CallFilter || s == discovery })
	return r
}

// operatorRights adds the rights of the operator, which may create and remove consumers of
// outcomes, except those of the notifier and the verifier.
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
			events.TypeRequested, events.RequestedFilter, events.RestoreRequestedFilter, events.CancelFilter, events.RestoreCancelFilter,
			events.CallFilter, discovery,
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
			readMsg(events.StreamRestores), readMsg(events.StreamRestoreOutcomes), readMsg(events.StreamRestoreEvents),
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
	r.Subscribe, r.DenySubscribe = append(r.Subscribe, announcements, restoreAnnouncements), []string{noCalls}
	return r
}

// PublisherRights returns the rights of a publisher of one project: it requests exports of that
// project, follows them, and calls the API for them, for no other project. It cancels with a call
// of the API, because the subject of the workers' cancels names no project. Its replies are under
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
