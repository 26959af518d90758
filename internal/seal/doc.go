// Package seal turns a dump into the bytes that are stored, in one pass: it caps the
// size, checks the dump's own structure, counts its rows, compresses, encrypts and hashes.
package seal
