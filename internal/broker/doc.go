// Package broker adapts NATS JetStream: the connection, the embedded server, the streams
// and consumers, a Watermill subscriber and publisher over nats.go, and a view into the
// request queue for the reaper.
//
// Three rules shape it. A delivery is a scarce good (there are three), so nothing is
// pulled that no slot is free for, and what is held is kept alive until it is settled.
// Settling is confirmed by the broker. And an acknowledgement cannot fence: whoever holds
// a message proves it to the ledger, never by what the broker believes.
package broker
