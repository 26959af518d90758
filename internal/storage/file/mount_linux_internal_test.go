package file

import "testing"

func TestTheMountOfAFolderIsDescribed(t *testing.T) {
	t.Parallel()
	const info = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /srv rw - tmpfs none rw
31 30 8:17 / /srv/backup\040disk rw,relatime shared:2 - ext4 /dev/disk/by-label/back\134up rw
32 22 8:17 / /srvx rw - ext4 /dev/sdc1 rw
33 31 8:33 / /srv/backup\040disk rw - xfs /dev/sdd1 rw
34 22 8:1 /var/lib/pgcourier /var/lib/pgcourier rw - ext4 /dev/sda1 rw
35 22 8:1 /disks/a /mnt/a rw - ext4 /dev/sda1 rw
broken
`
	for path, want := range map[string]string{
		"/var/lib/exports": "", "/": "", "/srv": "tmpfs on none at /srv", "/srv/exports": "tmpfs on none at /srv",
		"/srv/backup disk/exports": "xfs on /dev/sdd1 at /srv/backup disk", "/srvx/a": "ext4 on /dev/sdc1 at /srvx",
		"/var/lib/pgcourier/exports": "", "/mnt/a/exports": "ext4 on /dev/sda1 at /mnt/a",
	} {
		if got := mountIn(info, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := unescape(`back\134up\`); got != `back\up\` {
		t.Errorf("unescaped %q", got)
	}
}
