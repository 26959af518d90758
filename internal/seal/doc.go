// Package seal turns a dump into the bytes that are stored, in one pass: it caps the size, has
// the dump inspected, compresses, encrypts and hashes. It does not know what a dump looks like.
//
// [New] makes a [Stream] over a dump. Its central promise is that an error is never EOF:
// Read returns io.EOF only after the source ended with io.EOF and the [Inspector] agreed.
// Until then no encoder is closed, so what was read of a failed stream does not decode as a
// complete artifact.
//
// [Open] undoes the compression and the encryption. It releases bytes before it has seen the
// end: read to the end first, and only then use what was read.
package seal
