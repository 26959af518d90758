// Package events is the public contract in Go: the events and their subjects, decoding
// that refuses what the contract does not allow, and the Client that a gateway imports.
//
// A gateway asks for an export and waits for its one outcome:
//
//	client, err := events.NewClient(nc)
//	id, err := client.RequestBackup(ctx, events.Requested{ProjectID: "acme"})
//	outcome, err := client.Await(ctx, "acme", id)
//
// A request (Requested) ends in exactly one outcome, Completed or Failed. In between,
// Started says that an attempt's dump runs and Progress how far it is. Request ids are
// unique within their project only.
//
// # On the wire
//
// Bodies are JSON. The Encode methods write events in CloudEvents 1.0 binary mode: the body is the
// event, its attributes are headers named "ce-...". The encoding of an event is deterministic, so
// publishing one again publishes the same bytes. Decode reads requests from any publisher: binary
// mode, structured mode, or a bare JSON body. DecodeEvent and DecodeOutcome read what workers
// publish, and ignore fields that a later v1 may have added.
//
// All limits (lengths, alphabets, enumerations) live in the JSON Schemas of package
// schemas; this package enforces those files. A violation is an *InvalidError: its
// text names the field and the rule and never repeats the offending value.
package events
