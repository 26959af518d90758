package events

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// MaxGeneration bounds Requested.Generation, the same as in the schema.
const MaxGeneration = 1_000_000

// ReplayID is the request id of the n-th replay of the request first, from 1: first, "-r"
// and n. Where that is longer than an id may be, the end of first gives way to a digest of
// it. The same arguments give the same id, so a replay that is published twice is one
// request.
func ReplayID(first string, n int) string {
	suffix := "-r" + strconv.Itoa(n)
	if len(first)+len(suffix) <= maxID {
		return first + suffix
	}
	sum := sha256.Sum256([]byte(first))
	digest := "-" + hex.EncodeToString(sum[:8])
	return first[:maxID-len(digest)-len(suffix)] + digest + suffix
}

// First is the request that r's chain of replays began with, and r's place in it: r itself
// and 0 unless r is a replay.
func (r Requested) First() (request string, generation int) {
	if r.ReplayOf == "" {
		return r.RequestID, 0
	}
	return r.ReplayOf, r.Generation
}

// Replay returns the request that asks for the same as r once more, as the n-th replay of
// the chain that r belongs to. It is the same at each call.
func (r Requested) Replay(n int) Requested {
	first, _ := r.First()
	r.RequestID, r.ReplayOf, r.Generation = ReplayID(first, n), first, n
	r.Trace = Trace{}
	return r
}
