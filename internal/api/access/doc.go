// Package access defines the rights of the API's callers: scopes, grants and the form of tokens. The
// ledger stores tokens, and package api checks them.
package access
