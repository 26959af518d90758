// Package doctor examines with a worker's own configuration whether a worker could do its work,
// and says how to correct what it finds.
//
// [Examine] runs all checks side by side; [Run] bounds each one, so that a server that hangs
// delays its own check and no other's. A file holds the checks of one area: clients, database,
// projects, broker, storage, disks, keys, sandbox, retention, notify and drift. The judges need
// nothing but what was measured: how far a clock may be off ([Skew]), how much room a disk must
// have ([Room]), how long a certificate must be good ([Certificate]), which users may read a
// file ([Private]).
//
// It stands beside the service: it opens connections by the same functions as serve, and wires
// adapters. Only a command imports it.
package doctor
