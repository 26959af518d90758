// Package broker adapts NATS JetStream: the connection, the streams and consumers, the
// publisher, the schedules, and a view into a work queue. Package consumer below it takes
// messages, package server runs an embedded broker.
package broker
