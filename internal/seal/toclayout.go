package seal

// Versions of pg_dump's archives that differ in what their table of contents holds, by
// the minor number (the major is 1): 12 is the oldest accepted (PostgreSQL 9.0 to 10), 16
// the newest (17 and 18).
const (
	minVersion         = 12
	versionTableAM     = 14 // PostgreSQL 12: an entry names its table access method
	versionCompression = 15 // PostgreSQL 16: the compression is one byte, its algorithm
	versionRelkind     = 16 // PostgreSQL 17: an entry has its relkind
	maxVersion         = 16
)

// The codes of archive formats in the header.
const (
	archiveCustom = 1
	archiveTar    = 3
)

// tocField names what a field of the table of contents is used for.
type tocField uint8

const (
	skipped tocField = iota
	magicByte
	versionMajor
	versionMinor
	intSizeByte
	offSizeByte
	formatByte
	compression
	entryCount
	dumpID
	hasData
	oidText
	tagText
	kindText
	section
	schemaText
	oidsFlag
	dependency
	fileText
)

type tocStep struct {
	kind fieldKind
	use  tocField
}

// tocHeader is the part before the version is known.
var tocHeader = [...]tocStep{
	{byteField, magicByte}, {byteField, magicByte}, {byteField, magicByte},
	{byteField, magicByte}, {byteField, magicByte},
	{byteField, versionMajor}, {byteField, versionMinor}, {byteField, skipped},
	{byteField, intSizeByte}, {byteField, offSizeByte}, {byteField, formatByte},
}

// restOfHeader lists the fields between the fixed part and the entries.
func restOfHeader(minor int64) []tocStep {
	steps := []tocStep{{intField, compression}}
	if minor >= versionCompression {
		steps[0].kind = byteField
	}
	for range 7 { // second, minute, hour, day, month, year, daylight saving
		steps = append(steps, tocStep{intField, skipped})
	}
	for range 3 { // database, server version, pg_dump version
		steps = append(steps, tocStep{stringField, skipped})
	}
	return append(steps, tocStep{intField, entryCount})
}

// entrySteps lists the fields of one entry.
func entrySteps(minor int64, format byte) []tocStep {
	steps := []tocStep{
		{intField, dumpID}, {intField, hasData},
		{stringField, oidText}, {stringField, oidText}, // of the catalogue, of the object
		{stringField, tagText}, {stringField, kindText}, {intField, section},
		{stringField, skipped}, {stringField, skipped}, {stringField, skipped}, // definition, drop, COPY
		{stringField, schemaText},
		{stringField, skipped}, // tablespace
	}
	if minor >= versionTableAM {
		steps = append(steps, tocStep{stringField, skipped})
	}
	if minor >= versionRelkind {
		steps = append(steps, tocStep{intField, skipped})
	}
	steps = append(steps,
		tocStep{stringField, skipped}, // owner
		tocStep{stringField, oidsFlag}, tocStep{stringField, dependency})
	if format == archiveTar {
		return append(steps, tocStep{stringField, fileText})
	}
	return append(steps, tocStep{offsetField, skipped})
}
