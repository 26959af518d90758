// Package s3 keeps blobs as objects in an S3 bucket: AWS, MinIO, Ceph and others.
//
// An export lies at "<prefix>/<key>", its manifest beside it. The reference of a blob is
// its name without the prefix.
//
// # Writing
//
// A blob that fits into one part is one PUT; a longer one is a multipart upload, which
// is invisible before it is completed and is aborted on any failure. While one part
// is sent the next is read: two buffers of PartSize (8 MiB) are all the memory a Put
// takes. A killed process leaves an unfinished upload; Sweep lists and aborts those of
// its key. A lifecycle rule (AbortIncompleteMultipartUpload) is advised all the same.
//
// Nothing is replaced: the name is looked for first, and the writing itself carries
// "If-None-Match: *". A server that answers NotImplemented or 400 to that gets it without; a
// server that ignores it is covered by the look alone. When a reply was lost and the
// client's repetition is then refused, a random mark in the object's metadata
// (x-amz-meta-pgcourier-upload) says whether it is ours.
//
// # Checking, and when to read back
//
// Each part carries its SHA-256 in the signature (x-amz-content-sha256), its MD5
// (Content-MD5) and its CRC32C (x-amz-checksum-crc32c, unless checksum=md5), which the
// server must verify before it accepts the part. A part counts as verified when the
// server says so in its answer: by the CRC32C it echoes, or by an ETag that is the MD5.
// After completing, the object's size is looked at. If every part was verified the blob
// is Verified and the Repository does not read it back; otherwise (a server that echoes
// nothing and has ETags other than MD5, as with some encryption settings) it does.
//
// # Deleting
//
// In a bucket with versioning a deletion hides the object, and that is what is said; a lifecycle
// rule must remove old versions.
//
// # Answers
//
// A table in answers.go classes what servers, and what stands before them, answer. A HEAD has no
// body: where one is refused, a listing of the own prefix asks for the words. A server that is too
// busy is asked again for a minute and a half.
//
// # The server the tests run against
//
// gofakes3 ignores signatures, CRC32C, conditions on completing an upload, and the
// payload format of streamed signatures in parts (hence the SHA-256 given up front here,
// which other servers verify). The tests put a front before it that verifies SHA-256 and
// CRC32C and honours the condition, and that injects faults.
package s3
