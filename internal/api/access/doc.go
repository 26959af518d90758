// Package access is the rights of the API's callers: scopes, the grant that a caller has, and
// the form of tokens. It opens nothing: the ledger keeps tokens, package api asks for them.
package access
