// Package spool gives private folders for data that must lie on disk for a while, and sees
// that nothing of them stays.
//
// Each folder is locked (flock) for as long as somebody uses it. The kernel ends a lock with
// its last holder, so a folder without one is left behind by a process that was killed, and
// whoever opens the area next removes it. Workers can share an area; a child process that
// inherits a folder's lock keeps it from being removed while it still writes. The lock is
// why an area belongs on a local disk: over a network a lock can outlive its holder.
package spool
