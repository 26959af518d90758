// Command faults runs pgcourier under faults and accounts for every request: outcomes in
// the stream, rows in the ledger, objects in storage (each restored and compared with its
// source), processes, sessions and temporary files.
//
// Everything is a process of its own: an external nats-server or a cluster of three, two PostgreSQL
// clusters (control plane and source), two workers, and a proxy on every edge. Each fault has a
// fresh broker, ledger and storage. The moment of a fault is derived from an observation (a log
// line, a row, a session), never from a clock.
//
//	go run ./internal/dev/faults -list
//	go run ./internal/dev/faults -fault broker-kill,worker-kill -requests 40 -out build/faults.json
//	go run ./internal/dev/faults -soak 1h
//	go run ./internal/dev/faults -scale 2,4,8 -requests 400 -out build/scale.json
//
// It exits with 0 if no request was lost, had two outcomes or cannot be read, and nothing was left
// behind or leaked; with 1 otherwise; with 2 for wrong arguments.
package main
