// Package server is the embedded nats-server, and how any server for pgcourier is set up:
// the users, their keys, their accounts and their rights.
package server
