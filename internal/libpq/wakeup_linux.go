package libpq

import (
	"os"

	"golang.org/x/sys/unix"
)

// wakeup makes the kernel resume a paused tool when this process dies.
//
// A stopped process does not act on the SIGTERM of its parent's death. The kernel resumes the
// stopped processes of a group that has become an orphan, but a group is none as long as a member's
// parent is in the same session: init, where init started this process in its own session, as in a
// container. The processes that pg_dump starts itself get no signal of any parent's death.
//
// So the tool and its children inherit the read end of a pipe, and this process keeps the write
// end. When the write end is closed, by whatever ends this process, the kernel sends SIGCONT to all
// of the tool's group (F_SETSIG and F_SETOWN in fcntl(2)).
type wakeup struct{ r, w *os.File }

func newWakeup() (wakeup, error) {
	r, w, err := os.Pipe()
	return wakeup{r: r, w: w}, err
}

// arm names the group. The kernel keeps the group itself, not its number, which others can have
// later.
func (u wakeup) arm(group int) error {
	fd := u.r.Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETOWN, -group); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(fd, unix.F_SETSIG, int(unix.SIGCONT)); err != nil {
		return err
	}
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	_, err = unix.FcntlInt(fd, unix.F_SETFL, flags|unix.O_ASYNC)
	return err
}
