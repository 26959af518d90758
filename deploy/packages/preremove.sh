#!/bin/sh
# Ends and disables the services before they are removed, and lets running exports finish.
# Arguments: "remove", or "upgrade" (deb); 0, or 1 for an upgrade (rpm).
set -e
case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac
command -v systemctl >/dev/null || exit 0
for unit in pgcourier.service pgcourier-notifier.service pgcourier-verifier.service pgcourier-restorer.service; do
	[ ! -d /run/systemd/system ] || systemctl stop "$unit"
	systemctl --quiet disable "$unit"
done
