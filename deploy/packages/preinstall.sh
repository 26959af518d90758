#!/bin/sh
# Makes the users, before the package's files are given to their groups.
set -e
for user in pgcourier pgcourier-notifier pgcourier-verifier pgcourier-restorer; do
	getent passwd "$user" >/dev/null || useradd --system --user-group --home-dir "/var/lib/$user" --no-create-home \
		--shell /usr/sbin/nologin --comment "$user" "$user"
done
