package pgdump

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/pgcourier/pgcourier/internal/libpq"
)

// GroupConfig configures a GroupDumper.
type GroupConfig struct {
	// Dumper dumps members alone; groups use its settings. Required.
	Dumper *Dumper
	// Dir is the folder of the spools: files without a name, of mode 0600, that hold plain
	// dumps. Default: the system's folder for temporary files.
	Dir string
	// SpoolBytes bounds all spools of this process together. If a group needs more, its group dump
	// fails and its members are dumped alone. Default 1 GiB.
	SpoolBytes int64
	// MemberBytes is the largest estimated size of a member's tables. A larger project is dumped
	// alone. Default 16 MiB.
	MemberBytes int64
	// Open is how many dumps of one group's members may be open at the same time, in the group or
	// alone. Default 4.
	Open int
	// Wait bounds how long the first member waits for the others. Default 2 seconds.
	Wait time.Duration
}

func (c GroupConfig) withDefaults() GroupConfig {
	c.Dir = cmp.Or(c.Dir, os.TempDir())
	c.SpoolBytes = cmp.Or(c.SpoolBytes, 1<<30)
	c.MemberBytes = cmp.Or(c.MemberBytes, 16<<20)
	c.Open = cmp.Or(c.Open, 4)
	c.Wait = cmp.Or(c.Wait, 2*time.Second)
	return c
}

// The limits of a group dump. After one, its members are dumped alone, each with its full time. A group
// of a hundred projects in a database of 10,000 takes about 7 seconds.
const (
	groupTimeout = 5 * time.Minute
	groupStall   = time.Minute
	// groupLockWait bounds the wait for each lock of the session. A member with a table that is
	// locked for longer is dumped alone and does not delay the others.
	groupLockWait = 500 * time.Millisecond
	// groupLocking bounds pg_dump's statement that locks all tables, which the session has locked
	// already, and its other waits.
	groupLocking = 10 * time.Second
)

// GroupDumper dumps several small projects of one source with one pg_dump and gives each its own
// dump. So the catalogue, which every pg_dump reads as a whole, is read once. It is safe for
// concurrent use and keeps nothing open between groups.
type GroupDumper struct {
	config   GroupConfig
	dumper   Dumper    // the Dumper, with shorter timeouts
	restores []Version // of pg_restore
	budget   atomic.Int64
	log      *slog.Logger
}

// NewGroupDumper finds the installed pg_restores for the Dumper's pg_dumps. Without one of the same
// release, projects with format sql are dumped alone.
func NewGroupDumper(c GroupConfig) (*GroupDumper, error) {
	c = c.withDefaults()
	if c.Dumper == nil {
		return nil, errors.New("groups: no dumper")
	}
	if c.SpoolBytes < 0 || c.MemberBytes < 0 || c.Open < 0 || c.Wait < 0 {
		return nil, errors.New("groups: sizes, counts and times must be positive")
	}
	if info, err := os.Stat(c.Dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("groups: the spool's folder %q cannot be used: %w", c.Dir, errors.Join(err, os.ErrInvalid))
	}
	restores, unknown := libpq.Discover("pg_restore", c.Dumper.config.BinDirs)
	if unknown != nil {
		c.Dumper.config.Logger.Warn("client tools left out", "error", unknown)
	}
	g := &GroupDumper{config: c, dumper: *c.Dumper, log: c.Dumper.config.Logger, restores: restores}
	g.dumper.config.Timeout = min(g.dumper.config.Timeout, groupTimeout)
	g.dumper.config.Stall = min(g.dumper.config.Stall, groupStall)
	g.dumper.config.LockWaitTimeout = min(g.dumper.config.LockWaitTimeout, groupLocking)
	g.budget.Store(c.SpoolBytes)
	return g, nil
}

// restoreOf returns the pg_restore of a pg_dump's release: only that one writes the same script as the
// pg_dump.
func (g *GroupDumper) restoreOf(dump Version) (Version, bool) {
	for _, v := range g.restores {
		if v.Text == dump.Text {
			return v, true
		}
	}
	return Version{}, false
}
