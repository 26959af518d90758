// Package consumer is a Watermill subscriber over durable pull consumers of JetStream. It pulls a
// message when a slot is free, keeps held messages alive with heartbeats, takes turns between keys,
// and settles each message with the broker's confirmation.
//
// Three rules determine the design. First, each message has only three deliveries: a message is
// pulled only when a slot is free and is kept alive until it is settled. Second, the broker
// confirms each settlement. Third, an acknowledgement is not a fence: the ledger's lease decides
// which worker continues, not the broker's state.
package consumer
