package broker

import (
	"strings"
)

// IsInbox reports whether an answer may be sent to a subject. The caller chooses the subject, and on a
// broker without accounts this connection may publish to subjects that the caller may not: an answer
// there would be stored as a request or an event.
func IsInbox(subject string) bool {
	for _, own := range []string{"$", "backup", "restore"} {
		if strings.HasPrefix(subject, own) {
			return false
		}
	}
	return subject != ""
}
