package archive

import (
	"strconv"
	"strings"
)

const (
	faultFile       fault = "a member that is neither toc.dat nor a table's file"
	faultAfterTOC   fault = "a member after toc.dat"
	faultTOCMissing fault = "the archive ends without toc.dat"
	faultBlobs      fault = "large objects, which a dump of schemas never holds"
)

// directoryArchive checks a tar of pg_dump's directory archive: each table's file, in any order,
// and then toc.dat, which lists them. pg_dump marks that table of contents as a tar archive's.
type directoryArchive struct {
	toc    *tocParser
	tally  *tally
	files  map[int64]int64 // rows by the dump id in the file's name
	cost   int
	id     int64 // of the current member; 0: toc.dat
	rows   tableData
	listed bool // toc.dat was read
}

var _ tarMembers = (*directoryArchive)(nil)

func newDirectoryScanner(t *tally) *tarFrame {
	return newTarFrame(&directoryArchive{toc: newTOC(archiveTar), tally: t, files: make(map[int64]int64)})
}

func (d *directoryArchive) open(name string) error {
	if d.listed {
		return faultAfterTOC
	}
	if name == tocMember {
		d.id, d.listed = 0, true
		return nil
	}
	id, ok := dataFile(name)
	if !ok {
		return faultFile
	}
	if _, twice := d.files[id]; twice {
		return faultTwice
	}
	if d.cost += nameCost; d.cost > maxNames {
		return faultManyTables
	}
	d.id, d.files[id] = id, 0
	d.rows.begin()
	return nil
}

func (d *directoryArchive) body(p []byte) (int, error) {
	if d.id == 0 {
		return d.toc.whole(p)
	}
	return d.rows.scan(p)
}

func (d *directoryArchive) end() error {
	if d.id == 0 {
		return d.match()
	}
	if !d.rows.done {
		return faultRowsCut
	}
	d.files[d.id] = d.rows.rows
	return nil
}

// match compares the files with those that the table of contents lists.
func (d *directoryArchive) match() error {
	if !d.toc.done {
		return faultTOCLength
	}
	for id, e := range d.toc.entries {
		rows, came := d.files[id]
		switch {
		case e.blobs:
			return faultBlobs
		case !came || e.file != dataFileName(id):
			return faultMissingData
		}
		if err := d.tally.begin(e.table); err != nil {
			return err
		}
		d.tally.end(rows)
	}
	if len(d.files) != len(d.toc.entries) {
		return faultMember
	}
	return nil
}

func (d *directoryArchive) complete() error {
	if !d.listed {
		return faultTOCMissing
	}
	return nil
}

func dataFileName(id int64) string { return strconv.FormatInt(id, 10) + ".dat" }

// dataFile returns the dump id in the name of a table's file. It accepts only digits as pg_dump
// writes them, so that no two names have the same id and no name can point to another folder.
func dataFile(name string) (int64, bool) {
	stem, ok := strings.CutSuffix(name, ".dat")
	id, err := strconv.ParseInt(stem, 10, 32)
	return id, ok && err == nil && id > 0 && dataFileName(id) == name
}

// DirectoryFile reports whether name can be a member of a directory archive: toc.dat, or a table's
// file such as "4711.dat".
func DirectoryFile(name string) bool {
	_, ok := dataFile(name)
	return ok || name == tocMember
}
