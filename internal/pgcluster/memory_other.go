//go:build !linux

package pgcluster

import "os"

// memoryFolder makes a folder in os.TempDir().
func memoryFolder() (string, *os.File, error) {
	dir, err := os.MkdirTemp("", prefix)
	return dir, nil, err
}
