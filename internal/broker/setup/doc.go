// Package setup reads from the configuration how the broker is reached, as which of its users,
// and what streams and consumers it must hold.
//
// It stands below internal/broker and not in it: broker knows no configuration. Everything that
// talks to the broker connects through it: serve, doctor and the verbs.
package setup
