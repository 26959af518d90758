// Package console is the web console of the API: pages for operators at /console, on the API's
// listener and with the rights of the API's callers.
//
// It calls the API's operations in this process, never over HTTP, so an action does and records the same
// as its call. Pages are rendered here and work without JavaScript; a script shows progress live.
//
// A session is a sealed cookie with the token of its login. The token is checked at each request,
// so a revoked or expired token ends its sessions.
package console
