// Package e2e has tests only: they run the whole program as processes, workers and commands beside
// a PostgreSQL cluster and brokers of their own.
package e2e
