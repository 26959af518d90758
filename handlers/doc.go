// Package handlers has the Watermill handlers, one file for each event they consume: message in,
// core call, message out. The package declares small interfaces for what the handlers need of the
// broker beyond Watermill's.
package handlers
