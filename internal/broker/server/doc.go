// Package server runs the embedded nats-server. It also defines the users, keys, accounts and
// rights of any server for pgcourier.
package server
