//go:build !demoservers

package demo

// servers returns none: the shipped binary links no test server.
func servers() map[string]openServer { return nil }
