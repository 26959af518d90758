// Package failpoint names the places between two steps of the protocol where a process
// may die or be stopped. Only a binary built with the tag "failpoints" honours them; in
// any other a call is empty and compiled away.
//
// The environment variable FAILPOINTS arms points, separated by commas, in the form
// name=action or name=action@n, where n is the hit at which it acts, 1 by default:
//
//	after-claim=exit           the process ends at once, as by SIGKILL
//	after-commit=stop          the process stops itself (SIGSTOP) until it gets SIGCONT
//	mid-stream=panic@3         the third hit panics
package failpoint

// Name is a place in the protocol.
type Name string

// The places, in the order in which an attempt meets them.
const (
	BeforeClaim    Name = "before-claim"
	AfterClaim     Name = "after-claim"      // the claim is committed, nothing else was done
	AfterLookup    Name = "after-lookup"     // the project is known
	AfterOpen      Name = "after-open"       // pg_dump runs, nothing was read
	MidStream      Name = "mid-stream"       // bytes are on their way to the storage
	BeforeReadBack Name = "before-read-back" // a folder's file is whole and synced, its end not read back
	BeforeFinalise Name = "before-finalise"  // all bytes are stored, nothing is visible
	AfterObject    Name = "after-object"     // the object is visible, without its manifest
	AfterStore     Name = "after-store"      // the object and its manifest are stored
	BeforeCommit   Name = "before-commit"
	AfterCommit    Name = "after-commit" // the outcome is recorded, not published
	AfterPublish   Name = "after-publish"
	AfterMark      Name = "after-mark" // published and noted
	BeforeAck      Name = "before-ack" // the handler has returned, nothing is acknowledged
	AfterAck       Name = "after-ack"
	BeforeDiscard  Name = "before-discard" // superseded, the own object is still there
)
