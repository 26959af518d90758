// Package file keeps blobs as files under one folder of this host, or of a mounted file
// system.
//
// Under the root lie the exports by their names ("acme/req-7.1.sql.zst" and its
// ".manifest.json"), and in ".staging" what is being written. Folders are 0700, files
// 0600. Folders stay when their last export is deleted: pruning them would race with a
// Put that is about to use them.
//
// # Staying inside
//
// All access goes through os.Root, so no path and no symbolic link leads out of the root. Links
// inside the root are not followed either: a project's folder that is a link to another project's
// is an error. The root itself may be a link; it is the operator's choice and is resolved once, at
// Open. A file that later has its name has no effect, unless the storage is known by its marker:
// then it is used if it holds the same one.
//
// # The marker
//
// ".pgcourier-storage.json" in the root tells the storage from every other (see storage.Marked).
// After Expect each call first compares it, and the opened root with what stands at the path: a
// file system that is not mounted takes nothing, and one that is mounted again is found.
//
// # Durability
//
// A blob is written into staging, synced, linked to its name (which fails when the name is
// taken, and shows it whole or not at all), removed from staging, and then each folder up
// to the root is synced. A crash leaves at most a file in staging. Its name derives from the
// export's key, so that Sweep finds it. Several processes of one user may share a root.
//
// A blob is read back and compared while it is written, a few megabytes behind, and its end after
// the sync. Blobs larger than a block bypass the page cache both ways where the file system can
// (O_DIRECT). Where it cannot, each piece is flushed to the device and dropped from memory first,
// if the system permits, so that reading back still reads the disk.
package file
