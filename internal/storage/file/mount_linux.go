package file

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// mountOf describes the file system that a folder lies on, or would lie on, as "ext4 on /dev/sdb1
// at /srv". Empty: that of the root, or it cannot be told.
func mountOf(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	for {
		resolved, err := filepath.EvalSymlinks(dir)
		if err == nil {
			dir = resolved
			break
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
		dir = filepath.Dir(dir)
	}
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	return mountIn(string(info), dir)
}

// mountIn finds the mount of a path in the text of /proc/PID/mountinfo (proc(5)). A folder of the
// root's file system that is mounted onto itself, as systemd does for StateDirectory=, is no mount:
// other processes do not see it.
func mountIn(info, path string) string {
	at, text := "", ""
	var device, folder, rootDevice, rootFolder string // of the mount, and of that of /
	for line := range strings.Lines(info) {
		left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
		fields, system := strings.Fields(left), strings.Fields(right)
		const deviceField, folderField, pointField = 2, 3, 4
		if !ok || len(fields) <= pointField || len(system) < 2 {
			continue
		}
		point := unescape(fields[pointField])
		inside := path == point || strings.HasPrefix(path, strings.TrimSuffix(point, "/")+"/")
		if inside && len(point) >= len(at) { // a later mount at the same point hides the earlier
			at, text = point, system[0]+" on "+unescape(system[1])+" at "+point
			device, folder = fields[deviceField], unescape(fields[folderField])
		}
		if point == "/" {
			rootDevice, rootFolder = fields[deviceField], unescape(fields[folderField])
		}
	}
	if at == "/" || device == rootDevice && folder == strings.TrimSuffix(rootFolder, "/")+at {
		return ""
	}
	return text
}

// unescape undoes mountinfo's octal escapes of blanks and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		const digits = 3
		if s[i] == '\\' && i+digits < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+1+digits], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += digits
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
