// Package storage keeps exports where they can be found, fetched, checked and restored,
// even when the database that recorded them is gone.
//
// It has two layers. A [Driver] stores immutable blobs at one destination and answers
// with an opaque reference for each; there is one folder for each technology (file, s3,
// telegram). Above any driver stands a [Repository], which implements export.Store and
// does what is alike for all of them: it splits a stream into parts where a destination
// takes small blobs only, hashes and counts while writing, compares with what the core
// says it sealed, reads back, writes the manifest last, and deletes.
//
// # What lies in a destination
//
// An export has a key, a relative path made by the core such as "acme/req-7.1.sql.zst". Under it
// lie one data blob, or several parts ("<key>.part-00001", ...), and last the manifest
// ("<key>.manifest.json"). Data without a manifest is unfinished: it is never read, and Delete
// removes it. Destinations that can list ([Lister]) are found again by these names. Drivers that
// cannot ([Indexer]) keep one small index, replaced in place, that leads from each key to its
// manifest.
//
// With recipients the description in a manifest is encrypted to them: what a worker needs
// (the key, sizes, hashes, references) stays in clear, and [Document.Unseal] opens the rest.
//
// # Several destinations
//
// A [Fan] feeds several stores from one stream. An optional one that fails becomes a copy
// that says so. [Budgeted] bounds the time that one of them may take for the storing alone.
//
// # Errors
//
// Drivers answer with errors that wrap the sentinels of this package. A Repository
// turns them into *export.Fault for the core, keeping the sentinel in the chain. An error
// of the stream being stored is passed on as it is and never becomes a storage fault.
package storage
