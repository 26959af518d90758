#!/bin/sh
# Nothing is enabled or started: the settings come first. An upgrade restarts what runs. The restart
# waits in the background until running exports have finished.
# Arguments: "configure" and the version before (deb); 1, or 2 for an upgrade (rpm).
set -e
[ -e /etc/pgcourier/database-url ] || (umask 077 && : >/etc/pgcourier/database-url)
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
case "$1 $2" in
configure\ ?* | 2\ *) systemctl --no-block try-restart pgcourier.service pgcourier-notifier.service pgcourier-verifier.service pgcourier-restorer.service ;;
esac
