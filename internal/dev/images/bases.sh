#!/usr/bin/env bash
# Makes the base images of the Dockerfile and the compose file where there is no registry, with the names that
# these have: Debian from roots of debootstrap, Go from this machine's, PostgreSQL from Debian's packages, NATS
# from the module. BASE_ROOTS names a folder with roots that are there already (trixie, bookworm).
set -euo pipefail
cd "$(dirname "$0")/../../.."
here=internal/dev/images
roots=${BASE_ROOTS:-build/roots}
has() { docker image inspect "$1" >/dev/null 2>&1; }

# import NAME SUITE [TAR-OPTION...]
import() {
	if has "$1"; then return; fi
	if [ ! -d "$roots/$2/usr" ]; then
		mkdir -p "$roots"
		debootstrap --variant=minbase --include=ca-certificates "$2" "$roots/$2" >"$roots/$2.log" 2>&1 || { tail "$roots/$2.log" >&2; exit 1; }
		# This machine may trust an authority of its own, and the image is built over its network.
		cp /etc/ssl/certs/ca-certificates.crt "$roots/$2/etc/ssl/certs/"
	fi
	echo "making $1 from a root of $2"
	tar -C "$roots/$2" "${@:3}" --exclude=./var/cache/apt/archives/*.deb --exclude=./var/lib/apt/lists/* --exclude=./root/* --exclude=./dev/* -c . |
		docker import --change 'CMD ["bash"]' - "$1" >/dev/null
}

import debian:trixie-slim trixie --exclude=./usr/local/go
import debian:bookworm-slim bookworm --exclude=./usr/local/go
if ! has golang:1.26-trixie; then
	echo "making golang:1.26-trixie from $(go version)"
	docker build --quiet --tag golang:1.26-trixie --file - "$(go env GOROOT)" <$here/golang.Dockerfile >/dev/null
fi
for server in 17:trixie 15:bookworm; do
	if has "postgres:${server%:*}"; then continue; fi
	echo "making postgres:${server%:*} from the packages of Debian ${server#*:}"
	docker build --quiet --network host --build-arg MAJOR="${server%:*}" --build-arg SUITE="${server#*:}" --tag "postgres:${server%:*}" $here/postgres >/dev/null
done
if ! has nats:2.15-alpine; then
	echo "making nats:2.15-alpine from the module"
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	cp $here/nats.Dockerfile "$work/Dockerfile"
	CGO_ENABLED=0 go build -trimpath -o "$work/nats-server" github.com/nats-io/nats-server/v2
	docker build --quiet --network host --tag nats:2.15-alpine "$work" >/dev/null
fi
