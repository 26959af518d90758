#!/bin/sh
# Installs the client tools of the majors PG_MAJORS into the image, from PG_SOURCE: pgdg or debian.
set -eu
export DEBIAN_FRONTEND=noninteractive
release=$(. /etc/os-release && echo "$VERSION_CODENAME")

apt-get update
apt-get install -y --no-install-recommends ca-certificates
case $PG_SOURCE in
pgdg)
	# This package of Debian brings the key of PostgreSQL's repository.
	apt-get install -y --no-install-recommends postgresql-client-common
	printf 'Types: deb\nURIs: %s\nSuites: %s-pgdg\nComponents: main\nSigned-By: %s\n' "$PGDG_URL" "$release" \
		/usr/share/postgresql-common/pgdg/apt.postgresql.org.asc \
		>/etc/apt/sources.list.d/pgdg.sources
	;;
debian)
	mirror=$(cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null |
		awk '/^URIs:/ && !m { m = $2 } /^deb / && !m { m = $2 } END { print m }')
	for suite in $DEBIAN_SUITES; do
		echo "deb $mirror $suite main" >>/etc/apt/sources.list.d/suites.list
		# Of another release comes only what this one has not, and the library of the newest clients.
		printf 'Package: libpq5\nPin: release n=%s\nPin-Priority: 500\n\nPackage: *\nPin: release n=%s\nPin-Priority: 100\n\n' \
			"$suite" "$suite" >>/etc/apt/preferences.d/suites
	done
	;;
*)
	echo "PG_SOURCE is $PG_SOURCE: it must be pgdg or debian" >&2
	exit 2
	;;
esac
# Without the option a repository that cannot be reached would only be warned of.
apt-get update --error-on=any
packages=
for major in $PG_MAJORS; do packages="$packages postgresql-client-$major"; done
# shellcheck disable=SC2086 # one word for each package
apt-get install -y --no-install-recommends $packages
for major in $PG_MAJORS; do
	for tool in pg_dump pg_restore psql; do "/usr/lib/postgresql/$major/bin/$tool" --version; done
done
apt-get clean
rm -rf /var/lib/apt/lists/*
