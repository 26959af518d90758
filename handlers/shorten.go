package handlers

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/events"
)

// ErrTooLarge says that the broker takes no message of that size (max_payload, max_msg_size).
var ErrTooLarge = errors.New("too large for the broker")

// shortenable is an outcome's event that can leave out what its readers can do without.
type shortenable interface {
	Encode(source string) (events.Message, error)
	// shorten leaves out as little as makes the body at most so many bytes long, and says so in
	// the event. false: what is left cannot be left out.
	shorten(source string, limit int) bool
}

// part is what can be left out of an event: a list, half by half, or all at once.
type part struct {
	more func() bool // something of it can be left out still
	cut  func()
	size func() int    // of its JSON
	gone func() string // what was left out of it; empty: nothing
}

// list is a part that is halved, down to the least elements that the contract asks for.
func list(name string, all *[]string, least int) part {
	of := len(*all)
	return part{
		more: func() bool { return len(*all) > least },
		cut:  func() { *all = slices.Clone((*all)[:max(len(*all)/2, least)]) },
		size: func() int { return jsonSize(*all) },
		gone: func() string {
			if len(*all) == of {
				return ""
			}
			return fmt.Sprintf("%d of %d %s", of-len(*all), of, name)
		},
	}
}

// whole is a part that goes at once.
func whole[T any](name string, there bool, value *T) part {
	had := there
	return part{
		more: func() bool { return there },
		cut:  func() { *value, there = *new(T), false },
		size: func() int { return jsonSize(*value) },
		gone: func() string {
			if there == had {
				return ""
			}
			return "the " + name
		},
	}
}

func jsonSize(v any) int {
	b, err := json.Marshal(v)
	if err != nil {
		return 0
	}
	return len(b)
}

// cutTo cuts the largest part until the event's body fits; said puts into the event what was
// left out.
func cutTo(limit int, all []part, encode func() (events.Message, error), said func(text string)) bool {
	for {
		parts := slices.DeleteFunc(slices.Clone(all), func(p part) bool { return !p.more() })
		if len(parts) == 0 {
			return false
		}
		slices.MaxFunc(parts, func(a, b part) int { return a.size() - b.size() }).cut()
		said(leftOut(all))
		if m, err := encode(); err != nil || len(m.Body) <= limit {
			return err == nil
		}
	}
}

func leftOut(parts []part) string {
	var names []string
	for _, p := range parts {
		if gone := p.gone(); gone != "" {
			names = append(names, gone)
		}
	}
	return "shortened, for the broker takes no larger one; left out: " + strings.Join(names, ", ")
}

// completedEvent is a backup.completed that can be shortened: its manifest has all of it.
type completedEvent struct {
	events.Completed
	parts []part // nil: nothing is left out
	all   []string
}

func (e *completedEvent) shorten(source string, limit int) bool {
	if e.parts == nil {
		e.all = e.Warnings
		e.parts = []part{
			list("warnings", &e.all, 0), list("schemas", &e.Schemas, 1),
			whole("request", e.Request != nil, &e.Request), whole("metadata", e.Metadata != nil, &e.Metadata),
		}
	}
	return cutTo(limit, e.parts, func() (events.Message, error) { return e.Encode(source) }, func(text string) {
		// First: a list of warnings is cut at its end.
		e.Warnings = append([]string{"this event is " + text + "; the manifest beside the export has it"}, e.all...)
	})
}

// failedEvent is a backup.failed that can be shortened.
type failedEvent struct {
	events.Failed
	parts   []part
	message string
}

func (e *failedEvent) shorten(source string, limit int) bool {
	if e.parts == nil {
		const room = 700 // characters, so that what is left out can be said behind it
		e.message = strings.ToValidUTF8(e.Message[:min(len(e.Message), room)], "")
		e.parts = []part{whole("request", e.Request != nil, &e.Request), whole("metadata", e.Metadata != nil, &e.Metadata)}
	}
	return cutTo(limit, e.parts, func() (events.Message, error) { return e.Encode(source) }, func(text string) {
		e.Message = e.message + " (this event is " + text + ")"
	})
}
