package pgdump

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pgcourier/pgcourier/internal/libpq"
)

// process is a running pg_dump.
type process struct{ *libpq.Process }

// startProcess starts pg_dump with a pipe as its stdout. It returns the read end, which the caller
// closes.
func startProcess(binary string, args, env []string, password string) (*process, io.ReadCloser, error) {
	out, in, err := libpq.Pipe()
	if err != nil {
		return nil, nil, err
	}
	p, err := libpq.StartProcess(libpq.Command{
		Path: binary, Args: args, Env: env, Stdout: in, Password: password,
	})
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, nil, errors.Join(err, out.Close())
	}
	// A blocking read needs half the system calls of a read through the poller. It ends when pg_dump
	// ends for any reason.
	out.Fd() // switches to blocking mode
	return &process{p}, out, nil
}

// written returns how many bytes the process has written to all files. pg_dump writes each table of a
// tar to a temporary file before any output.
func (p *process) written() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", p.ID()))
	if err != nil {
		return 0, err
	}
	return parseWritten(b)
}
