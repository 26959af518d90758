package pgdump

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/pgcourier/pgcourier/internal/libpq"
)

// process is a running pg_dump.
type process struct{ *libpq.Process }

// startProcess starts pg_dump with a pipe as its stdout. It returns the other end, which the
// caller closes.
func startProcess(binary string, args, env []string, password string, killDelay time.Duration) (*process, io.ReadCloser, error) {
	out, in, err := libpq.Pipe()
	if err != nil {
		return nil, nil, err
	}
	p, err := libpq.StartProcess(libpq.Command{
		Path: binary, Args: args, Env: env, Stdout: in, Password: password, KillDelay: killDelay,
	})
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, nil, errors.Join(err, out.Close())
	}
	// A reader that is ahead of pg_dump waits in the read itself: to be told by the poller and
	// then to read costs twice the system calls. The read ends with pg_dump, whatever becomes
	// of it.
	out.Fd() // makes it a blocking one
	return &process{p}, out, nil
}

// written is how many bytes the process has written so far, wherever to: the tar format
// spools each table to a file before anything comes out.
func (p *process) written() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", p.ID()))
	if err != nil {
		return 0, err
	}
	return parseWritten(b)
}
