package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// refused classifies an error of the target.
func (s *steps) refused(ctx context.Context, err error, doing string) error {
	state := sqlState(err)
	_, rejected := errors.AsType[*RejectedError](err)
	switch {
	case err == nil, rejected:
		return err
	case state == outOfMemory:
		_, _ = s.conn.Exec(ctx, "ROLLBACK").ReadAll() // releases the locks, for the query in outOfLocks
		return s.feed.at.outOfLocks(ctx, s.feed.first, err)
	case state == "" || transient(state):
		return fmt.Errorf("%w: %s: %w", ErrTarget, doing, err)
	}
	return &RejectedError{SQLState: state, Stderr: doing + ": " + err.Error()}
}

// ofTarget reports whether an error is one of the target, not of the export's bytes.
func ofTarget(err error) bool {
	_, rejected := errors.AsType[*RejectedError](err)
	_, dependents := errors.AsType[*DependentsError](err)
	return rejected || dependents || slices.ContainsFunc(targetErrors, func(e error) bool { return errors.Is(err, e) })
}

var targetErrors = []error{
	ErrTarget, ErrOccupied, ErrLocks, ErrBusy, ErrInUse, ErrRefused, ErrForbidden, ErrMarkers, ErrPlacement, errPlaced,
}

// headline returns the beginning of a statement, for a message.
func headline(statement string) string {
	const most = 120
	var words []string
	for line := range strings.Lines(statement) {
		if !strings.HasPrefix(line, "--") {
			words = append(words, strings.Fields(line)...)
		}
	}
	text := []rune(oneLine(strings.Join(words, " ")))
	if len(text) > most {
		return string(text[:most]) + "..."
	}
	return string(text)
}
