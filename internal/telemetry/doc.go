// Package telemetry is what a worker tells of itself while it works: Prometheus metrics,
// OpenTelemetry traces and the attributes of log lines.
//
// It stands around the ports and not within them: [Telemetry] has a decorator for each
// interface that the process meets the world through (the ledger, the look-up, the dumper,
// each destination, the publisher, the channels of the notifier, the verifier) and a
// middleware for the handlers. The measured code does not know of it, and telemetry never
// blocks it: an instrument is an addition in memory, spans wait in a bounded queue and are
// dropped when it is full, and a scrape asks the broker or the ledger rarely and briefly.
package telemetry
