package pgversion

// Oldest is the first major version that is supported as a source: it exports snapshots on a
// standby and knows declarative partitions. Newest is the newest that pgcourier was tested with.
const (
	Oldest = 10
	Newest = 18
)

// Feature is a set of things that some major versions have and others do not.
type Feature uint

const (
	// JIT says that the server has the setting jit.
	JIT Feature = 1 << iota
	// Generated says that a table can have generated columns, which COPY does not read.
	Generated
	// DropForce says that DROP DATABASE takes the option FORCE, which ends the sessions there.
	DropForce
	// ClientCheck says that the server has the setting client_connection_check_interval: it
	// notices that its client is gone also while it runs a statement. Not on every platform.
	ClientCheck
	// GrantInherit says that INHERIT is an option of each grant of a role. Earlier servers look
	// at the member's own attribute only.
	GrantInherit
	// TransactionTimeout says that the server has the setting transaction_timeout. The scripts
	// of pg_dump and pg_restore of such a version set it, which earlier servers refuse.
	TransactionTimeout
	// NoComments says that pg_dump has the option --no-comments.
	NoComments
	// PlainOnStdout says that pg_dump writes plain text through the C library's stdout, of which
	// coreutils' libstdbuf.so can set the buffer. Later versions duplicate the descriptor and
	// write through a stream of their own. Archives of format custom go through stdout always.
	PlainOnStdout
)

// release is what a major version brought and what it took away.
type release struct {
	major        int
	brings, ends Feature
}

// releases are all from Oldest to Newest.
var releases = []release{
	{major: 10, brings: PlainOnStdout},
	{major: 11, brings: JIT | NoComments},
	{major: 12, brings: Generated},
	{major: 13, brings: DropForce},
	{major: 14, brings: ClientCheck},
	{major: 15},
	{major: 16, brings: GrantInherit, ends: PlainOnStdout},
	{major: 17, brings: TransactionTimeout},
	{major: 18},
}

// Has says whether a server or a client tool of this major version has all of the features. A
// version newer than Newest has the facts of Newest; one older than Oldest has none.
func Has(major int, f Feature) bool {
	var has Feature
	for _, r := range releases {
		if r.major <= major {
			has = (has | r.brings) &^ r.ends
		}
	}
	return has&f == f
}

// Newer says whether the major version is newer than all that pgcourier was tested with.
func Newer(major int) bool { return major > Newest }
