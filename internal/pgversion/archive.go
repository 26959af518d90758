package pgversion

// Archive is a version of the format in which pg_dump writes its archives (custom, tar and
// directory). The versions are 1.x.
type Archive struct {
	Minor int // the x
	Since int // the first major version with a pg_dump that writes it

	AccessMethod  bool // an entry names its table access method
	OneByteCodec  bool // the compression is one byte, its algorithm, and not an integer, its level
	Relkind       bool // an entry has its relkind
	NumberedBlobs bool // large objects can have several entries, each with a list of its own
}

// The minor numbers of the archives that can be read: those of PostgreSQL 9.0 and later.
const (
	OldestArchive = 12
	NewestArchive = 16
)

// archives are all from OldestArchive to NewestArchive. They were read in
// src/bin/pg_dump/pg_backup_archiver.c (ReadHead, ReadToc). 1.13 differs from 1.12 in nothing
// that is written: it says that names in the definitions are qualified.
var archives = []Archive{
	{Minor: 12, Since: 9},
	{Minor: 13, Since: 10},
	{Minor: 14, Since: 12, AccessMethod: true},
	{Minor: 15, Since: 16, AccessMethod: true, OneByteCodec: true},
	{Minor: 16, Since: 17, AccessMethod: true, OneByteCodec: true, Relkind: true, NumberedBlobs: true},
}

// ArchiveOf returns the archive version 1.minor. ok is false for one that cannot be read.
func ArchiveOf(minor int) (a Archive, ok bool) {
	if minor < OldestArchive || minor > NewestArchive {
		return Archive{}, false
	}
	return archives[minor-OldestArchive], true
}
