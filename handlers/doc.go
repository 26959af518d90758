// Package handlers has the Watermill handlers, one file for each event they consume:
// message in, core call, message out. What they need of the broker beyond Watermill's
// interfaces they ask for in small interfaces of their own.
package handlers
