// Package spool makes private folders for data that must lie on disk for a while, and ensures
// that they are removed.
//
// Each folder is locked (flock) for as long as it is used. The kernel releases the lock when
// its last holder ends, so a folder without a lock was left by a killed process, and the next
// process that opens the area removes it. Workers can share an area; a child process that
// inherits a folder's lock keeps it from being removed while it still writes. The lock is
// why an area belongs on a local disk: over a network a lock can outlive its holder.
package spool
