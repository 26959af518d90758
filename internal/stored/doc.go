// Package stored is what commands do with stored exports: find them by the ID of a command line,
// open them to be read, fetch, remove, and rebuild the ledger from them.
//
// It needs neither a worker nor a broker, and the ledger only where a function takes it. It stands
// at the service's level: it wires the destinations, restore and the ledger.
package stored
