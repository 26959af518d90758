package handlers

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/events"
)

// ErrTooLarge says that the message is larger than the broker accepts (max_payload, max_msg_size).
var ErrTooLarge = errors.New("too large for the broker")

// shortenable is the event of an outcome that can omit optional parts.
type shortenable interface {
	Encode(source string) (events.Message, error)
	// shorten omits as little as possible so that the body has at most limit bytes, and says so in the
	// event. false: the rest cannot be omitted.
	shorten(source string, limit int) bool
}

// part is an optional part of an event: a list, which is halved repeatedly, or a whole value.
type part struct {
	more func() bool // reports whether more can be omitted
	cut  func()
	size func() int    // of its JSON
	gone func() string // what was omitted; empty: nothing
}

// list returns a part that is halved, down to the least number of elements that the contract
// requires.
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

// whole returns a part that is omitted as a whole.
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

// cutTo cuts the largest part until the event's body fits. said writes into the event what was
// omitted.
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

// completedEvent is a backup.completed that can be shortened. Its manifest has all parts.
type completedEvent struct {
	events.Completed
	parts []part // nil: nothing is omitted
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
		// The note comes first, because a list of warnings is cut at its end.
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
		const room = 700 // characters, to have space for the note after it
		e.message = strings.ToValidUTF8(e.Message[:min(len(e.Message), room)], "")
		e.parts = []part{whole("request", e.Request != nil, &e.Request), whole("metadata", e.Metadata != nil, &e.Metadata)}
	}
	return cutTo(limit, e.parts, func() (events.Message, error) { return e.Encode(source) }, func(text string) {
		e.Message = e.message + " (this event is " + text + ")"
	})
}
