// Command natsd runs nats-server with the configuration file in its only argument, as a process
// that the fault harness can kill, stop and wipe. SIGHUP reads the file again.
package main

import (
	"fmt"
	"os"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "natsd:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: natsd FILE")
	}
	opts, err := server.ProcessConfigFile(args[0])
	if err != nil {
		return err
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start() // handles the signals, SIGHUP among them
	s.WaitForShutdown()
	return nil
}
