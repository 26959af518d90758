//go:build !linux

package freeport

// reserve notes nothing: there is no name that the kernel forgets.
func reserve(int) bool { return true }
