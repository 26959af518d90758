// Command bench measures pgcourier against the bare pg_dump and against common alternatives, side
// by side in one run. It prints a table for each part, updates the parts' sections of
// docs/benchmarks.md, and writes build/bench.json.
//
//	make bench                           # all parts
//	make bench BENCH=wall SIZE=256MB     # one part, with less data
//	make bench-matrix                    # four kinds of data on PostgreSQL 15, 17 and 18
//	make bench-evidence                  # what counting the rows costs
//	go run ./internal/dev/bench -list
//
// Variants are measured in turns: each round runs every variant once, so that a drift of the
// machine affects all of them. A ratio is computed within a round. The report has the median over
// the rounds, with the least and the most. Our variant is the shipped worker as a process with its
// embedded broker, its ledger in a real PostgreSQL that syncs to disk, and real requests.
//
// Processor seconds are those of user and system mode together. They hold on a busy machine too, and
// seconds of the clock do not: each report says the load average, and the share of the processors that
// other processes had.
//
// A missed target is reported as missed. The exit code is 0 if everything could be measured,
// whatever the figures are, 1 otherwise, and 2 for wrong arguments.
package main
