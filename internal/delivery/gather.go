package delivery

import "context"

// Gatherer brings together messages that wait and can be handled side by side: see Gather.
type Gatherer func(n int, join func(n int) []any) int

type (
	gathererKey struct{}
	joinedKey   struct{}
)

// WithGatherer returns a context in which Gather calls g.
func WithGatherer(ctx context.Context, g Gatherer) context.Context {
	return context.WithValue(ctx, gathererKey{}, g)
}

// WithJoined returns a context in which Joined returns value.
func WithJoined(ctx context.Context, value any) context.Context {
	return context.WithValue(ctx, joinedKey{}, value)
}

// Gather has up to n more waiting messages of other keys, of each key one, handled beside the
// message of ctx, in its slot, which is free again when all have ended. They are the
// next by turn; nothing is waited for. When it is known how many there are, join is called
// with their number, and each message gets one of the values that it returns: see Joined.
// They are handled soon after Gather has returned. A message that is snoozed there is not
// gathered again, but has its turn like any other.
//
// Gather returns how many there are, 0 without a call of join. A handler calls it before it
// returns. For a message that was gathered itself, or came in no delivery, it returns 0.
func Gather(ctx context.Context, n int, join func(n int) []any) int {
	g, ok := ctx.Value(gathererKey{}).(Gatherer)
	if !ok {
		return 0
	}
	return g(n, join)
}

// Joined returns what the join of a Gather gave to the message of ctx; nil if it was not
// gathered.
func Joined(ctx context.Context) any { return ctx.Value(joinedKey{}) }
