#!/bin/sh
# Starts PostgreSQL as the image postgres of Docker's library does, as far as the compose file uses it: a
# cluster with the password POSTGRES_PASSWORD, a database POSTGRES_DB, and the scripts of its folder.
set -eu
data=/var/lib/postgresql/data/cluster
if [ ! -e "$data/ready" ]; then
	rm -rf "$data"
	(umask 077 && echo "$POSTGRES_PASSWORD" >/tmp/password)
	initdb --pgdata="$data" --username=postgres --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 >/dev/null
	rm /tmp/password
	echo 'host all all all scram-sha-256' >>"$data/pg_hba.conf"
	pg_ctl --pgdata="$data" --wait --options="-c listen_addresses=''" start >/dev/null
	createdb --username=postgres "$POSTGRES_DB"
	for file in /docker-entrypoint-initdb.d/*.sql; do
		[ ! -e "$file" ] || psql --username=postgres --dbname="$POSTGRES_DB" --set=ON_ERROR_STOP=1 --quiet --file="$file"
	done
	pg_ctl --pgdata="$data" --wait --mode=fast stop >/dev/null
	touch "$data/ready"
fi
exec postgres -D "$data" -c listen_addresses='*'
