// Package consumer is a Watermill subscriber over durable pull consumers of JetStream: it
// pulls a message when a slot is free, keeps what it holds alive, lets keys take turns, and
// settles with the broker's confirmation.
//
// Three rules shape it. A delivery is a scarce good (there are three), so nothing is
// pulled that no slot is free for, and what is held is kept alive until it is settled.
// Settling is confirmed by the broker. And an acknowledgement cannot fence: the ledger's
// lease says which worker may go on, never what the broker believes.
package consumer
