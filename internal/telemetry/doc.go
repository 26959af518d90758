// Package telemetry has Prometheus metrics, OpenTelemetry traces and attributes of log lines.
//
// [Telemetry] has a decorator for each interface to the outside world (the ledger, the look-up, the
// dumper, each destination, the publisher, the channels of the notifier, the verifier) and a
// middleware for the handlers. The measured code does not import telemetry. Telemetry never blocks
// it: an instrument is an addition in memory, spans wait in a bounded queue and are dropped when it
// is full, and a scrape reads the broker and the ledger rarely and with a short timeout.
package telemetry
