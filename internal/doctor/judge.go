package doctor

import (
	"crypto/x509"
	"fmt"
	"io/fs"
	"time"

	"github.com/dustin/go-humanize"
)

// The bounds of Skew. Receivers of signed webhooks refuse what is five minutes off (Standard
// Webhooks), S3 what is fifteen: a fault is said well before.
const (
	MaxSkew   = 2 * time.Second
	FaultSkew = time.Minute
)

// Skew judges how far another clock is ahead of ours, which was measured within margin.
func Skew(clock string, ahead, margin time.Duration) Finding {
	off, way := ahead, "ahead of"
	if off < 0 {
		off, way = -off, "behind"
	}
	f := Finding{State: OK, Found: fmt.Sprintf("%s clock is %s %s this machine's, within %s", clock, round(off), way, round(margin))}
	switch sure := off - margin; {
	case sure >= FaultSkew:
		f.State = Fault
	case sure >= MaxSkew:
		f.State = Warning
	default:
		return f
	}
	f.Fix = "keep both machines' clocks with NTP (chrony, systemd-timesyncd): signatures, leases and schedules go by them"
	return f
}

func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(time.Second)
}

// The bounds of Certificate: time enough to renew one by hand.
const expiresSoon = 14 * 24 * time.Hour

// Certificate judges how long a certificate is still good.
func Certificate(c *x509.Certificate, now time.Time) Finding {
	left := c.NotAfter.Sub(now)
	f := Finding{State: OK, Found: "its certificate is good until " + c.NotAfter.UTC().Format(time.DateOnly)}
	switch {
	case left <= 0:
		f.State, f.Found = Fault, "its certificate expired on "+c.NotAfter.UTC().Format(time.DateOnly)
	case left < expiresSoon:
		f.State = Warning
	default:
		return f
	}
	f.Fix = "renew the server's certificate"
	return f
}

// Space is what a disk has left. Files is the number of files that can still be made; -1: as
// many as one likes, or not known.
type Space struct{ Free, Files int64 }

// The bounds of Room.
const (
	leastFree  = 64 << 20
	littleFree = 1 << 30
	leastFiles = 1000
)

// Room judges whether a disk has room for one more of the largest that it holds, in bytes; 0: not
// known. A disk with room for fewer than three is a warning.
func Room(have Space, largest int64) Finding {
	f := Finding{State: OK, Found: humanize.IBytes(uint64(max(have.Free, 0))) + " free"}
	if largest > 0 {
		f.Found += "; the largest recent export took " + humanize.IBytes(uint64(largest))
	}
	switch {
	case have.Free < leastFree, have.Free < largest:
		f.State = Fault
	case have.Files >= 0 && have.Files < leastFiles:
		f.State, f.Found = Fault, fmt.Sprintf("%d more files can be made", have.Files)
	case have.Free < littleFree, have.Free/3 < largest:
		f.State = Warning
	default:
		return f
	}
	f.Fix = "free room on this disk or move the folder to a larger one; see retention"
	return f
}

// Private judges whether a file with a secret can be read by others. own: this user owns it. A file of
// another user is handed over through its group, as Kubernetes and systemd do.
func Private(path string, mode fs.FileMode, own bool) Finding {
	switch perm := mode.Perm(); {
	case perm&0o077 == 0:
		return Finding{State: OK, Found: path + " is its owner's alone"}
	case !own && perm&0o037 == 0:
		return Finding{State: OK, Found: path + " is its owner's, and its group may read it"}
	}
	return Finding{
		State: Warning, Found: fmt.Sprintf("%s holds a secret and has mode %04o: others can reach it", path, mode.Perm()),
		Fix: "chmod go-rwx " + path,
	}
}
