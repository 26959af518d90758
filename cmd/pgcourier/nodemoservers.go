//go:build !demoservers

package main

// demoServers returns none: the shipped binary links no test server.
func demoServers() map[string]openDemoServer { return nil }
