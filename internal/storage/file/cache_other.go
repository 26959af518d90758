//go:build !linux

package file

import "os"

// dropCache has no portable form outside Linux; there the read-back may come from memory.
func dropCache(*os.File) {}
