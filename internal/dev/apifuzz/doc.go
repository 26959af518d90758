// Package apifuzz calls a server with what its OpenAPI document describes and with what it does
// not, and holds each answer against the document. Nothing of it is shipped.
package apifuzz
