// Package consumer is a Watermill subscriber over durable pull consumers of JetStream: it
// pulls a message when a slot is free, keeps what it holds alive, lets keys take turns, and
// settles with the broker's confirmation.
//
// Three rules shape it. First, deliveries are scarce (there are three): a message is pulled only
// when a slot is free, and is kept alive until it is settled. Second, the broker confirms each
// settlement. Third, an acknowledgement cannot fence: the ledger's lease decides which worker may
// go on, not the broker's state.
package consumer
