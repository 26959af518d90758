package storage

import (
	"context"
	"io"
	"iter"
)

// Ref is a driver's own name for a stored blob: printable UTF-8 of at most [MaxRef]
// bytes, opaque to all others. It is written into manifests, so it holds no secret
// and no server path, and it stays valid for another process with the same configuration.
type Ref string

// MaxRef bounds the bytes of a Ref, so that a manifest of 540 parts (10 GiB in parts of
// 19 MiB) stays below half a megabyte.
const MaxRef = 768

// Driver stores immutable blobs at one destination.
//
// The rules below are a contract; storagetest checks them. A driver is safe for
// concurrent use by several goroutines, and several processes may use one destination.
//
//   - Errors MUST wrap ErrNotFound, ErrExists, ErrForeign, ErrFull, ErrDamaged or
//     ErrUnavailable where one of them is the case, MUST keep the context's error in the
//     chain when the context ended, and MUST NOT hold a secret.
//   - A driver MUST NOT log and MUST NOT start goroutines that outlive a call or, where
//     Open is concerned, the Close of what it returned.
type Driver interface {
	// Traits says what the destination takes. The answer never changes.
	Traits() Traits

	// Put stores b.Body to its end as one blob.
	//
	//   - An error of b.Body other than io.EOF MUST be in the returned error's chain,
	//     and then, as after any other failure, nothing MUST be visible under b.Name and
	//     no staging may be left as far as the destination still answers.
	//   - The blob MUST become visible at once and whole, not before b.Body returned
	//     io.EOF, and MUST be durable when Put returns nil.
	//   - Put MUST NOT replace a blob: where names address blobs, a taken name is
	//     ErrExists and the blob there stays as it was.
	//   - Put MUST return soon after ctx ended, unless it waits in b.Body.Read.
	//   - b.Body MUST NOT be used after Put returned, and MUST NOT be closed.
	Put(ctx context.Context, b Blob) (Stored, error)

	// Open returns the blob's bytes from offset to its end; an offset at or past the end
	// gives no bytes. The caller closes it. The bytes are not checked here, but a
	// connection that ends early MUST be an error and not io.EOF. ctx bounds the whole
	// reading. A reference of another kind of driver is ErrForeign. A reference to a
	// blob that is gone is ErrNotFound.
	Open(ctx context.Context, ref Ref, offset int64) (io.ReadCloser, error)

	// Delete removes one blob and says what became of it. A blob that is gone is Absent
	// and no error. A foreign reference is ErrForeign and changes nothing.
	Delete(ctx context.Context, ref Ref) (Deletion, error)

	// URI names the export for humans and events, given its key and its manifest's
	// reference: never a secret, never a server path.
	URI(key string, manifest Ref) string
}

// Lister is a Driver that finds its blobs again by name.
type Lister interface {
	Driver

	// Find returns the reference of the blob with that name; ErrNotFound when there is
	// none.
	Find(ctx context.Context, n Name) (Ref, error)

	// Names yields the name of every visible blob, in no order, and skips whatever else
	// lies there. An error ends the sequence.
	Names(ctx context.Context) iter.Seq2[Name, error]

	// Sweep removes everything under key: the manifest first, so that the export is not
	// visible while it disappears, then its data and parts, then unfinished uploads of
	// any process. Other keys, also those that begin with key, MUST stay untouched. A
	// key that holds nothing is Absent.
	Sweep(ctx context.Context, key string) (Deletion, error)
}

// Indexer is a Driver that cannot list its blobs, and keeps one small mutable document
// instead.
type Indexer interface {
	Driver

	// Index returns the document, or nil when none was set yet.
	Index(ctx context.Context) ([]byte, error)

	// SetIndex replaces the document at once: a reader sees the old or the new one.
	SetIndex(ctx context.Context, doc []byte) error
}

// Traits is what a destination takes.
type Traits struct {
	// Scheme is the URI scheme, for instance "file".
	Scheme string
	// MaxBlob is the most bytes of one blob. 0: no bound; then an export is one
	// blob of a size that is not known beforehand. Above 0 the Repository stores parts of at
	// most MaxBlob bytes, never an empty one, and holds two of them in memory. Manifests
	// and the index are never split: about 250 bytes for each part, so a MaxBlob below a
	// megabyte is for tests only.
	MaxBlob int64
}

// Blob is something to be stored.
type Blob struct {
	Name Name
	// Size is the number of bytes in Body, or -1 when it is not known. It is known for
	// manifests, and for all blobs when MaxBlob is above 0.
	Size int64
	// Body gives the bytes. When Size is known it is also an io.ReadSeeker over memory,
	// at its beginning: a driver may rewind it and send it again.
	Body io.Reader
	// SHA256 is the hash of Body, known whenever Size is.
	SHA256 [32]byte
	// Parts is how many parts the export has, 0 while that is not known: it is told with
	// the last part and with the manifest.
	Parts int
}

// Stored is a driver's answer to Put.
type Stored struct {
	Ref Ref
	// Verified says that the destination itself confirmed a checksum of the bytes it
	// holds, or that the driver has read them there and found them as they were written.
	// Otherwise the Repository reads the blob back.
	Verified bool
}

// Deletion is what became of a blob, or, for several, the least complete of it.
type Deletion int

const (
	// Absent says that there was nothing to remove.
	Absent Deletion = iota
	// Deleted says that the bytes are gone.
	Deleted
	// Hidden says that the destination keeps what it deletes: nothing shows the bytes any more,
	// and they stay as an old version until the destination's own rules remove it.
	Hidden
	// Tombstoned says that the destination does not delete any more: the bytes were
	// replaced by an empty stand-in, which stays.
	Tombstoned
)

// String returns "absent", "deleted", "hidden" or "tombstoned".
func (d Deletion) String() string {
	switch d {
	case Absent:
		return "absent"
	case Deleted:
		return "deleted"
	case Hidden:
		return "hidden"
	case Tombstoned:
		return "tombstoned"
	}
	return "unknown"
}
