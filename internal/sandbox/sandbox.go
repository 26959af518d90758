package sandbox

import "errors"

// ErrUnavailable says that this machine does not let us make a sandbox.
var ErrUnavailable = errors.New("no sandbox")

// Box is what a program may see and reach.
type Box struct {
	// ReadOnly and Writable are files and folders that are there under their own paths,
	// besides /usr and its kin, a few files of /etc and an empty /tmp. Missing ones are
	// left out. Symbolic links within them lead nowhere else.
	ReadOnly, Writable []string
	// Network keeps this machine's network. Without it there is none, not even loopback;
	// a socket in one of the folders works all the same.
	Network bool
	// UID and GID are the user and group of the program. Only root may set them. 0 and 0: the caller.
	UID, GID uint32
	// Landlock confines the program by Landlock in the place of namespaces, where these are refused, as
	// in a container. It is weaker: the program sees this machine's processes and names of files, its
	// UDP and its sockets with a name, and shares /dev/shm. Files outside of the box cannot be opened,
	// and TCP is closed without Network. /tmp and /proc are not there.
	Landlock bool
}
