package notify

import "context"

// Sender delivers over one channel.
type Sender interface {
	// Send makes one try. nil means that the other side said yes. The error may be or
	// wrap a *PermanentError or a *DelayError; any other passes by itself. It holds no
	// secret. Safe for concurrent use.
	Send(ctx context.Context, n Notification) error
}

// Records keeps what is known of each notification. Safe for concurrent use.
type Records interface {
	// Get returns a record and its revision. ErrNotFound: there is none.
	Get(ctx context.Context, key Key) (r Record, revision uint64, err error)
	// Put writes a record if the one that is there has this revision; 0: if there is
	// none. Otherwise ErrConflict, and nothing was written.
	Put(ctx context.Context, r Record, revision uint64) error
}

// Queue holds what is to be delivered.
type Queue interface {
	// Enqueue stores n, unless it is in the queue already: then it changes nothing and
	// that is no error.
	Enqueue(ctx context.Context, n Notification) error
}
