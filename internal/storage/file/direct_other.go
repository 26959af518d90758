//go:build !linux

package file

import "os"

// setDirect has no portable form outside Linux: everything goes through the cache.
func setDirect(*os.File, bool) bool { return false }

func reserve(*os.File, int64, int64) {}

func isInvalid(error) bool { return false }
