package notify

import "context"

// Sender delivers notifications over one channel.
type Sender interface {
	// Send makes one attempt. A nil error means that the receiver accepted the notification. A
	// *PermanentError or a *DelayError may be wrapped; every other error is transient. The error
	// contains no secret. Send is safe for concurrent use.
	Send(ctx context.Context, n Notification) error
}

// DigestSender is a Sender that can deliver several notifications in one message.
type DigestSender interface {
	Sender
	// SendDigest makes one attempt for at least two notifications with the same recipient. They were
	// all accepted, or none was. Otherwise it is like Send.
	SendDigest(ctx context.Context, all []Notification) error
}

// Records stores the state of each notification. It is safe for concurrent use.
type Records interface {
	// Get returns a record and its revision, or ErrNotFound.
	Get(ctx context.Context, key Key) (r Record, revision uint64, err error)
	// Put stores a record if the stored one has this revision; 0 means that none is stored. Otherwise
	// it returns ErrConflict and changes nothing.
	Put(ctx context.Context, r Record, revision uint64) error
}

// Queue holds the notifications to deliver.
type Queue interface {
	// Enqueue stores n. If n is already in the queue, Enqueue changes nothing and returns nil.
	Enqueue(ctx context.Context, n Notification) error
}
