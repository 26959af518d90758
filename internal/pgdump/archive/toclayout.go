package archive

import "github.com/pgcourier/pgcourier/internal/pgversion"

// The codes of archive formats in the header.
const (
	archiveCustom = 1
	archiveTar    = 3
)

// tocField is the use of a field of the table of contents.
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

// tocHeader lists the fields before the version is known.
var tocHeader = [...]tocStep{
	{byteField, magicByte}, {byteField, magicByte}, {byteField, magicByte},
	{byteField, magicByte}, {byteField, magicByte},
	{byteField, versionMajor}, {byteField, versionMinor}, {byteField, skipped},
	{byteField, intSizeByte}, {byteField, offSizeByte}, {byteField, formatByte},
}

// restOfHeader lists the fields between the fixed part and the entries.
func restOfHeader(version pgversion.Archive) []tocStep {
	steps := []tocStep{{intField, compression}}
	if version.OneByteCodec {
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
func entrySteps(version pgversion.Archive, format byte) []tocStep {
	steps := []tocStep{
		{intField, dumpID}, {intField, hasData},
		{stringField, oidText}, {stringField, oidText}, // of the catalogue, of the object
		{stringField, tagText}, {stringField, kindText}, {intField, section},
		{stringField, skipped}, {stringField, skipped}, {stringField, skipped}, // definition, drop, COPY
		{stringField, schemaText},
		{stringField, skipped}, // tablespace
	}
	if version.AccessMethod {
		steps = append(steps, tocStep{stringField, skipped})
	}
	if version.Relkind {
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
