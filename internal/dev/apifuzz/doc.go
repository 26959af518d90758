// Package apifuzz sends valid and invalid calls to a server and compares each answer with the
// server's OpenAPI document. It is not part of the shipped binary.
package apifuzz
