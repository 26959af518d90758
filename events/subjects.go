package events

import "strings"

// TypeRequested is the type of a request, and begins the subjects of requests. The types of
// the announced events are in kinds.go.
const TypeRequested = "backup.requested"

// The names of the messages that are no events: a question over plain NATS, and its answer.
const (
	TypeCancel      = "backup.cancel"
	TypeCancelReply = "backup.cancel_reply"
	// TypeRestoreCancel and TypeRestoreCancelReply are the same for restores.
	TypeRestoreCancel      = "restore.cancel"
	TypeRestoreCancelReply = "restore.cancel_reply"
	// TypeCancelling begins the subjects on which a worker that has recorded a cancel
	// tells the others to look at the ledger. It has no authority of its own.
	TypeCancelling = "backup.cancelling"
	// TypeCall begins the subjects of calls of the API over NATS: see CallSubject.
	TypeCall = "backup.api"
	// TypeExportCall and TypeListCall name the bodies of such calls that are no request.
	TypeExportCall = "backup.api_export"
	TypeListCall   = "backup.api_list"
)

// The operations of the API over NATS, the last token of a call's subject.
const (
	CallRequest = "request"
	CallStatus  = "status"
	CallCancel  = "cancel"
	CallList    = "list"
)

// The streams of the contract.
const (
	// StreamRequests is the queue: work-queue retention over RequestedFilter, a limit
	// for each subject, discard-new.
	StreamRequests = "BACKUP_REQUESTS"
	// StreamIntake holds requests from publishers that only know the event's name, on
	// the bare subject TypeRequested.
	StreamIntake = "BACKUP_INTAKE"
	// StreamOutcomes keeps the outcomes, one message for each request: see Filters.
	StreamOutcomes = "BACKUP_OUTCOMES"
	// StreamEvents keeps the announced events beside outcomes: see Filters.
	StreamEvents = "BACKUP_EVENTS"
	// StreamAdvisories captures the broker's advisories about StreamRequests.
	StreamAdvisories = "BACKUP_ADVISORIES"
	// StreamRestores is the queue of requests for restores, with the limits of StreamRequests.
	StreamRestores = "RESTORE_REQUESTS"
	// StreamRestoreOutcomes keeps the outcomes of restores, and StreamRestoreEvents the other events
	// of restores: see Filters.
	StreamRestoreOutcomes = "RESTORE_OUTCOMES"
	StreamRestoreEvents   = "RESTORE_EVENTS"
	// StreamNotifications is the notifier's queue. The notifier publishes there; the operator and the API do to replay.
	StreamNotifications = "BACKUP_NOTIFICATIONS"
	// BucketNotificationStates is the key-value bucket with the state of each notification,
	// and StreamNotificationStates its stream.
	BucketNotificationStates = "BACKUP_NOTIFICATION_STATES"
	StreamNotificationStates = "KV_" + BucketNotificationStates
)

// The durable consumers of the contract.
const (
	// ConsumerExport is the workers' consumer of StreamRequests.
	ConsumerExport = "export-worker"
	// ConsumerRestore is the restorers' consumer of StreamRestores.
	ConsumerRestore = "restorer"
	// ConsumerIntake moves StreamIntake's messages to their projects' subjects.
	ConsumerIntake = "intake"
	// ConsumerVerifier is the verifiers' consumer of StreamOutcomes: successes only.
	ConsumerVerifier = "verifier"
	// ConsumerNotifier is the notifier's consumer of StreamOutcomes. ConsumerNotifierDamaged,
	// ConsumerNotifierExpiring and ConsumerNotifierLinks are those of StreamEvents, each for one of its events.
	ConsumerNotifier         = "notifier"
	ConsumerNotifierDamaged  = "notifier-damaged"
	ConsumerNotifierExpiring = "notifier-expiring"
	ConsumerNotifierLinks    = "notifier-links"
)

// Subject filters over all projects and requests, for streams and consumers.
const (
	RequestedFilter = TypeRequested + ".*"
	StartedFilter   = TypeStarted + ".*.*"
	ProgressFilter  = TypeProgress + ".*.*"
	CompletedFilter = TypeCompleted + ".*.*"
	FailedFilter    = TypeFailed + ".*.*"

	VerifiedFilter           = TypeVerified + ".*.*"
	VerificationFailedFilter = TypeVerificationFailed + ".*.*"

	ExpiringFilter = TypeExpiring + ".*.*"
	ExpiredFilter  = TypeExpired + ".*.*"

	LinkIssuedFilter  = TypeLinkIssued + ".*.*"
	DownloadedFilter  = TypeDownloaded + ".*.*"
	LinkRevokedFilter = TypeLinkRevoked + ".*.*"
	LinkExpiredFilter = TypeLinkExpired + ".*.*"

	RestoreRequestedFilter = TypeRestoreRequested + ".*"
	RestoreStartedFilter   = TypeRestoreStarted + ".*.*"
	RestoreProgressFilter  = TypeRestoreProgress + ".*.*"
	RestoreCompletedFilter = TypeRestoreCompleted + ".*.*"
	RestoreFailedFilter    = TypeRestoreFailed + ".*.*"

	CancelFilter        = TypeCancel + ".*"
	CancellingFilter    = TypeCancelling + ".*.*"
	RestoreCancelFilter = TypeRestoreCancel + ".*"

	CallFilter = TypeCall + ".*.*"
)

// NoProject stands in subjects and in Failed.ProjectID for a request in which no valid
// project id could be read. It is no valid project id itself.
const NoProject = "_"

// maxID is the length limit of project and request ids, the same as in the schemas.
const maxID = 100

// idRule says in words what an id is.
const idRule = "must be 1 to 100 letters, digits, \"_\" or \"-\""

// RequestSubject is the subject of a project's queue.
func RequestSubject(project string) string { return TypeRequested + "." + project }

// EventSubject is the subject of one request's events of a type other than
// TypeRequested, for instance "backup.completed.acme.nightly-42".
func EventSubject(eventType, project, request string) string {
	return eventType + "." + project + "." + request
}

// CallSubject is the subject of a call of the API over NATS, for instance "backup.api.acme.status".
// The subject is the authority: a call concerns the project in it and no other.
func CallSubject(project, operation string) string { return TypeCall + "." + project + "." + operation }

// OutcomeFilter matches both outcome subjects of one request. Publishing an outcome with
// an expected last sequence of 0 for this filter makes the broker refuse a second one.
func OutcomeFilter(project, request string) string {
	return "backup.*." + project + "." + request
}

// RestoreOutcomeFilter matches both outcome subjects of one restore, as OutcomeFilter does those of a
// request.
func RestoreOutcomeFilter(project, restore string) string {
	return "restore.*." + project + "." + restore
}

// ValidProject reports whether s is a project id by the contract: 1 to 100 ASCII
// letters, digits, "_" or "-", and not NoProject.
func ValidProject(s string) bool { return ValidRequest(s) && s != NoProject }

// ValidRequest reports whether s is a request id by the contract: 1 to 100 ASCII
// letters, digits, "_" or "-".
func ValidRequest(s string) bool {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	return s != "" && len(s) <= maxID && strings.Trim(s, alphabet) == ""
}

// splitSubject takes an event's subject apart: "backup.<word>" or "restore.<word>", then the rest.
func splitSubject(subject string) (eventType string, rest []string) {
	tokens := strings.Split(subject, ".")
	if len(tokens) < 2 {
		return "", nil
	}
	return tokens[0] + "." + tokens[1], tokens[2:]
}
