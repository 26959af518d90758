// Package api is the API, over HTTP and NATS: a gateway for platforms that have none. It publishes the same events as
// any gateway and reads the same ledger; it never runs an export.
//
// Calls over NATS, in calls.go, reach the same operations: a micro service on events.CallFilter.
//
// Every operation is registered once, with its scopes. The OpenAPI document is made from these
// registrations. Package access defines the callers' rights.
package api
