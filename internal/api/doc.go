// Package api is the HTTP API: a gateway for platforms that have none. It publishes the same events as
// any gateway and reads the same ledger; it never runs an export.
//
// Every operation is registered in one place with its scopes, and the OpenAPI document is made of
// the same registrations. Package access below it holds the callers' rights.
package api
