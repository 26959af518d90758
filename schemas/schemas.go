// Package schemas is the public contract for programs that are not written in Go: one JSON Schema
// (draft 2020-12) for each event, asyncapi.yaml (AsyncAPI 3.0) for the subjects they travel on, and
// examples of each event. Go programs import package events: tests hold its types to these files.
//
// The schemas hold all limits: lengths, patterns and enumerations. Two keywords of our
// own are annotations, which other validators ignore: "x-rule" says a pattern in words,
// and "x-maxBytes" is a length in bytes of UTF-8, which JSON Schema cannot express.
//
// Within v1 a field, once there, keeps its meaning. Producers send nothing that the
// schema does not name; consumers of outcomes, started and progress events should
// ignore fields and failure codes they do not know, for optional ones may be added.
// The formats date-time and uri are to be asserted where the validator offers it.
package schemas

import "embed"

// FS holds backup.<event>.v1.json for each event, asyncapi.yaml, openapi.json, and the examples in
// examples/backup.<event>/.
//
//go:embed *.json asyncapi.yaml examples
var FS embed.FS
