// Package setup derives from the configuration how to reach the broker, as which of its users, and
// which streams and consumers it must have.
//
// It is a package below internal/broker, because internal/broker does not depend on the
// configuration. serve, doctor and the commands connect to the broker with it.
package setup
