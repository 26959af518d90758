// Command bench measures pgcourier against the bare pg_dump and against what people use
// instead, side by side in one run. It prints a table for each part, keeps the parts'
// sections of docs/benchmarks.md, and writes build/bench.json.
//
//	make bench                           # all parts
//	make bench BENCH=wall SIZE=256MB     # one part, with less data
//	go run ./internal/dev/bench -list
//
// Variants are measured in turns: each round runs every variant once, so that a drift of the
// machine hits all of them. A ratio is taken within a round; what is told is the median over
// the rounds, with the least and the most. Ours is the shipped worker as a process with its
// embedded broker, its ledger in a real PostgreSQL that syncs to disk, and real requests.
//
// A target that is missed is told as missed. The exit code is 0 when everything could be
// measured, whatever the figures are, 1 otherwise, and 2 for wrong arguments.
package main
