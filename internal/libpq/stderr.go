package libpq

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// pipeCapacity is not less than what a pipe holds without F_SETPIPE_SZ: 16 pages of at most 64 KiB
// (pipe(7)).
const pipeCapacity = 1 << 20

// stderr reads what a tool writes to its standard error while it runs, and keeps the end.
type stderr struct {
	tail
	r, w *os.File
	done chan struct{} // closed when the copying has ended
}

func newStderr() (*stderr, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	return &stderr{r: r, w: w, done: make(chan struct{})}, nil
}

// begin closes this process's copy of the write end, which the tool has, and reads until finish.
func (s *stderr) begin() {
	_ = s.w.Close()
	go func() {
		defer close(s.done)
		_, _ = io.Copy(&s.tail, s.r) // ends with the last writer, or by finish
	}()
}

// finish reads the rest after the tool has ended, and closes the pipe. All that the tool wrote is in the
// pipe by then. So finish waits for no end of the pipe: a process that has left the tool's group can keep
// it open.
func (s *stderr) finish() {
	_ = s.r.SetReadDeadline(time.Now()) // every pipe has deadlines
	<-s.done
	_ = s.r.SetReadDeadline(time.Time{})
	if raw, err := s.r.SyscallConn(); err == nil {
		_ = raw.Read(s.drain)
	}
	_ = s.r.Close()
}

// drain reads what is in the pipe at this moment. It ends also if a process keeps writing.
func (s *stderr) drain(fd uintptr) (done bool) {
	buf := make([]byte, 64<<10)
	for read := 0; read < pipeCapacity; {
		n, err := syscall.Read(int(fd), buf)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if n <= 0 {
			break
		}
		_, _ = s.Write(buf[:n]) // always nil
		read += n
	}
	return true
}

// discard closes both ends. No tool was started.
func (s *stderr) discard() {
	_ = s.r.Close()
	_ = s.w.Close()
}
