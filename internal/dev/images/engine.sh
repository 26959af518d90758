#!/usr/bin/env bash
# Runs a command with a Docker engine of its own, of Debian's packages, and ends the engine after it:
#
#   engine.sh FOLDER COMMAND...
#
# It needs root, and a Docker client with BuildKit: Debian 12's has it, a newer one has it in the plugin buildx.
# FOLDER keeps the engine's images, its log (engine.log) and Compose for the next time.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "a Docker engine needs root" >&2; exit 1; }
mkdir -p "$1/config/cli-plugins" "$1/bin"
folder=$(cd "$1" && pwd)
shift
run=$(mktemp -d /run/pgcourier-docker.XXXXXX)
engine=
finish() {
	local status=$?
	[ -z "$engine" ] || { kill "$engine" && wait "$engine"; } 2>/dev/null || true
	rm -rf --one-file-system "$run" || true
	exit $status
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

if ! command -v dockerd >/dev/null; then
	echo "installing Docker's engine"
	{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends docker.io iptables; } >"$run/apt" 2>&1 ||
		{ tail "$run/apt" >&2; exit 1; }
fi
export DOCKER_BUILDKIT=1 DOCKER_CONFIG=$folder/config PATH=$folder/bin:$PATH

# plugin PACKAGE COMMAND takes a plugin of the client from Debian 13, which has Compose 2. Nothing is installed.
plugin() {
	if docker "$2" version >/dev/null 2>&1; then return; fi
	echo "fetching $1 of Debian 13"
	local apt=$run/apt.$2 mirror keys=/usr/share/keyrings/debian-archive-keyring.gpg
	mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/root"
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | awk '!/security/ && !m { m = $0 } END { print m }')
	[ -n "$mirror" ] || { echo "apt has no Debian mirror here" >&2; exit 1; }
	printf 'Types: deb\nURIs: %s\nSuites: trixie\nComponents: main\n' "$mirror" >"$apt/a.sources"
	[ ! -e $keys ] || echo "Signed-By: $keys" >>"$apt/a.sources"
	local options=(-q -o Dir::Etc::sourcelist="$apt/a.sources" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$apt/lists"
		-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User= -o Acquire::Check-Valid-Until=false)
	(cd "$apt/archives" && apt-get "${options[@]}" update && apt-get "${options[@]}" download "$1/trixie") >"$apt/log" 2>&1 || { tail "$apt/log" >&2; exit 1; }
	dpkg-deb --extract "$apt"/archives/*.deb "$apt/root"
	install -m 0755 "$(find "$apt/root" -path "*cli-plugins/docker-$2")" "$folder/config/cli-plugins/docker-$2"
	docker "$2" version >/dev/null || { echo "docker $2 of Debian 13 does not run here" >&2; exit 1; }
}

# Up to version 22 the client itself builds with BuildKit.
if ! docker buildx version >/dev/null 2>&1; then
	for client in $(type -ap docker); do
		major=$("$client" --version | sed -n 's/^Docker version \([0-9]*\).*/\1/p')
		if [ "${major:-99}" -lt 23 ]; then
			ln -sfn "$client" "$folder/bin/docker"
			break
		fi
	done
	[ -e "$folder/bin/docker" ] || plugin docker-buildx buildx
fi
plugin docker-compose compose

export DOCKER_HOST=unix://$run/docker.sock
dockerd --data-root "$folder/data" --exec-root "$run/exec" --pidfile "$run/pid" --host "$DOCKER_HOST" >"$folder/engine.log" 2>&1 &
engine=$!
until docker info >/dev/null 2>&1; do
	kill -0 $engine 2>/dev/null || { tail "$folder/engine.log" >&2; exit 1; }
	sleep 0.2
done
echo "started Docker $(docker info --format '{{.ServerVersion}}, storage driver {{.Driver}}, cgroup v{{.CgroupVersion}}'), Compose $(docker compose version --short)"
"$@"
