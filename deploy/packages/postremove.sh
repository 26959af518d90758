#!/bin/sh
# A purge (deb) leaves data: the folders under /var/lib with the users that own them, and keys and
# identities in /etc/pgcourier, without which exports cannot be read.
set -e
case "$1" in
remove | 0)
	[ ! -d /run/systemd/system ] || systemctl daemon-reload
	;;
purge)
	rm -f /etc/pgcourier/database-url
	[ ! -d /etc/pgcourier ] || rmdir --ignore-fail-on-non-empty /etc/pgcourier
	for user in pgcourier pgcourier-notifier pgcourier-verifier pgcourier-restorer; do
		if [ ! -e "/var/lib/$user" ] && getent passwd "$user" >/dev/null; then userdel "$user"; fi
	done
	;;
esac
