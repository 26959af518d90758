package notify

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pgcourier/pgcourier/events"
)

// Digest is the text of several events for people.
type Digest struct {
	// Completed reports that no event is a fault.
	Completed bool
	// Headline counts the events of each kind. Like that of a Summary it is safe in a mail's header.
	Headline string
	Events   []Summary
}

// SummarizeAll returns the digest of events. The faults come first.
func SummarizeAll(all []events.Event) Digest {
	var failed, damaged, expiring, completed, other int
	d := Digest{Completed: true}
	for _, of := range all {
		s := Summarize(of)
		switch {
		case of.Failed != nil:
			failed++
		case of.VerificationFailed != nil:
			damaged++
		case of.Expiring != nil:
			expiring++
		case of.Completed != nil:
			completed++
		default:
			other++
		}
		d.Completed = d.Completed && of.Failed == nil && of.VerificationFailed == nil
		d.Events = append(d.Events, s)
	}
	var parts []string
	part := func(n int, one, many string) {
		switch {
		case n == 1:
			parts = append(parts, "1 export "+one)
		case n > 1:
			parts = append(parts, strconv.Itoa(n)+" exports "+many)
		}
	}
	part(damaged, "is damaged", "are damaged")
	part(failed, "failed", "failed")
	part(expiring, "will be deleted", "will be deleted")
	part(completed, "completed", "completed")
	part(other, "changed", "changed")
	d.Headline = strings.Join(parts, ", ")
	slices.SortStableFunc(d.Events, func(a, b Summary) int { return rank(a) - rank(b) })
	return d
}

func rank(s Summary) int {
	if s.Completed {
		return 1
	}
	return 0
}

// Brief returns the facts that a digest shows of an event.
func (s Summary) Brief() []Fact {
	var brief []Fact
	for _, f := range s.Facts {
		if slices.Contains([]string{"request", "cause", "kind", "reason", "deleted at the earliest", "finished"}, f.Name) {
			brief = append(brief, f)
		}
	}
	return brief
}
