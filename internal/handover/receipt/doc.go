// Package receipt makes and checks receipts: signed statements of what an export holds.
//
// A receipt is a DSSE envelope (https://github.com/secure-systems-lab/dsse) over an in-toto
// Statement v1. Its subject is the stored object by its SHA-256; its predicate says which
// snapshot was dumped, how many tables and rows were counted in the stream and in the snapshot,
// by which versions and when, and which keys decrypt it. It is signed with Ed25519 and verified
// offline: with the file, the public key and nothing else.
//
// A receipt is stored unencrypted beside the export, also beside an encrypted one. So it holds counts
// and no names of schemas or tables.
package receipt
