package events

import "strings"

// The names of schedules. A schedule is a request that the broker holds on
// ScheduleSubject and copies to DueSubject whenever it is due. Both are for operators and
// workers: the right to publish here decides what is exported and when.
const (
	// TypeSchedule begins the subjects.
	TypeSchedule = "backup.schedule"
	// StreamSchedules holds the newest message of each schedule's two subjects.
	StreamSchedules = "BACKUP_SCHEDULES"
	// ConsumerDue moves what is due to its project's queue.
	ConsumerDue = "due"
	// ScheduleFilter matches the schedules, DueFilter what they made due.
	ScheduleFilter = TypeSchedule + ".*.*"
	DueFilter      = TypeSchedule + ".*.*.due"
)

// Headers of what is due.
const (
	// HeaderNextDue is the broker's: when the run after this one is due (RFC 3339).
	HeaderNextDue = "Nats-Schedule-Next"
	// HeaderScheduleEdit names one writing of a schedule, so that runs of the schedule as
	// it was and as it is are never taken for one.
	HeaderScheduleEdit = "Pgcourier-Schedule-Edit"
)

// maxSchedule keeps "schedule:<name>" within the limit of requested_by, and a request id
// made of it within maxID.
const maxSchedule = 64

// ValidSchedule reports whether s is a schedule's name: 1 to 64 ASCII letters, digits,
// "_" or "-".
func ValidSchedule(s string) bool { return len(s) <= maxSchedule && ValidRequest(s) }

// ScheduleSubject is where a project's schedule is held.
func ScheduleSubject(project, name string) string { return TypeSchedule + "." + project + "." + name }

// DueSubject is where the broker puts a run of a project's schedule.
func DueSubject(project, name string) string { return ScheduleSubject(project, name) + ".due" }

// SplitSchedule takes a subject of ScheduleFilter or DueFilter apart. It is false for any other
// subject, and for an invalid project or name.
func SplitSchedule(subject string) (project, name string, ok bool) {
	t := strings.Split(subject, ".")
	if len(t) != 4 && (len(t) != 5 || t[4] != "due") || t[0]+"."+t[1] != TypeSchedule {
		return "", "", false
	}
	return t[2], t[3], ValidProject(t[2]) && ValidSchedule(t[3])
}

// RequestedBySchedule is the RequestedBy of a schedule's requests.
func RequestedBySchedule(name string) string { return "schedule:" + name }
