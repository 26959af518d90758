// Package api is the HTTP API: a gateway for platforms that have none. It publishes the same events as
// any gateway and reads the same ledger; it never runs an export.
//
// Every operation is registered once, with its scopes. The OpenAPI document is made from these
// registrations. Package access defines the callers' rights.
package api
