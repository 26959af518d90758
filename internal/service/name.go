package service

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
)

// ProcessName returns a name for this start of a process: host name, process id, and a random part.
// A container that is restarted has the same host name and process id each time, and so have two
// containers with one host name: without the random part one could end or extend the other's lease.
func ProcessName() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name this process: %w", err)
	}
	const random = 6 // of 32 letters each
	return fmt.Sprintf("%s/%d-%s", host, os.Getpid(), strings.ToLower(rand.Text()[:random])), nil
}
