// Package handlers contains the Watermill handlers, one file for each event. A handler decodes a
// message, calls the core and publishes the result. The package declares small interfaces for what
// the handlers use of the broker beyond Watermill's.
package handlers
