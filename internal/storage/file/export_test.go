package file

import "os"

// Wrap is wrap, for the tests.
var Wrap = wrap

// OnWritten calls f with each staging file that has all its bytes, before the last of them are read
// back.
func (d *Driver) OnWritten(f func(*os.File)) {
	d.written = f
	if d.folder != nil {
		d.folder.written = f
	}
}
