#!/bin/sh
# Makes a release of the commit in dist/: for each platform an archive and a bill of materials, for
# Linux packages too, and checksums of all. Two runs on the same commit make the same bytes: times are
# the commit's, and no path, user or host gets in. `make release` calls it with GO, NFPM and CYCLONEDX.
set -eu
export LC_ALL=C TZ=UTC CGO_ENABLED=0 GOFLAGS=
umask 022
work=build/release
rm -rf dist "$work"
mkdir -p dist "$work"

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
if tag=$(git describe --tags --exact-match 2>/dev/null); then
	RELEASE=${tag#v}
else # older than any release; a later commit is newer
	RELEASE=0.0.0-dev.$(git log -1 --format=%cd --date=format-local:%Y%m%d%H%M%S).g$(git rev-parse --short=12 HEAD)
fi
[ -z "$(git status --porcelain)" ] || RELEASE=$RELEASE.dirty
export SOURCE_DATE_EPOCH RELEASE
host=$("$GO" env GOHOSTOS)-$("$GO" env GOHOSTARCH)
echo "release $RELEASE"

# The licences of what is linked in demand that their texts come along.
notices() {
	printf 'Licences of what this program contains.\n\n==== Go\n\n'
	cat "$("$GO" env GOROOT)/LICENSE"
	"$GO" list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}}@{{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/pgcourier | sort -u | sed '/^$/d' >"$work/modules"
	while read -r name folder; do
		texts=$(find "$folder" -maxdepth 1 -type f \( -iname '*licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) | sort)
		[ -n "$texts" ] || { echo "$name has no licence text" >&2; return 1; }
		printf '\n==== %s\n\n' "$name"
		for text in $texts; do cat "$text"; echo; done
	done <"$work/modules"
}

# platform OS ARCH
platform() {
	export GOOS="$1" GOARCH="$2"
	echo "building for $1/$2"
	stage=$work/$1-$2
	mkdir -p "$stage/documents"
	"$GO" build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$RELEASE" -o "$stage/pgcourier" ./cmd/pgcourier
	git archive HEAD LICENSE README.md CHANGELOG.md SECURITY.md docs schemas | tar -x -C "$stage/documents"
	[ "$1" != linux ] || git archive HEAD deploy | tar -x --exclude=deploy/packages -C "$stage/documents"
	notices >"$stage/documents/NOTICES"
	"$CYCLONEDX" app -licenses -json -noserial -notimestamp -main cmd/pgcourier -output "$stage/documents/pgcourier.cdx.json" . 2>"$work/sbom.log" ||
		{ cat "$work/sbom.log" >&2; return 1; }
	cp "$stage/documents/pgcourier.cdx.json" "dist/pgcourier_${RELEASE}_$1_$2.cdx.json"
	unset GOOS GOARCH
}

# The manual and the completion are the same on every platform: this machine's program writes them.
manual() {
	"$work/$host/pgcourier" man "$work/man" >/dev/null
	mkdir -p "$work/completion"
	for shell in bash zsh fish; do "$work/$host/pgcourier" completion "$shell" >"$work/completion/pgcourier.$shell"; done
}

archive() {
	name=pgcourier_${RELEASE}_$1_$2
	folder=$work/$name
	cp -r "$work/$1-$2/documents" "$folder"
	cp -r "$work/$1-$2/pgcourier" "$work/man" "$work/completion" "$folder"
	tar -c --format=gnu --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@$SOURCE_DATE_EPOCH" -C "$work" "$name" | gzip -9n >"dist/$name.tar.gz"
}

packages() {
	export ARCH="$1" STAGE="$work/linux-$1"
	mkdir -p "$STAGE/units" "$STAGE/man"
	cp -r "$work/completion" "$STAGE"
	for unit in deploy/systemd/*.service; do
		sed 's,/usr/local/bin/pgcourier,/usr/bin/pgcourier,' "$unit" >"$STAGE/units/${unit##*/}"
	done
	for page in "$work"/man/*.1; do gzip -9nc "$page" >"$STAGE/man/${page##*/}.gz"; done
	find "$STAGE/documents" -type d -exec chmod 755 {} + -o -type f -exec chmod 644 {} +
	find "$STAGE" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	for format in deb rpm; do "$NFPM" package --config deploy/packages/nfpm.yaml --packager "$format" --target dist/ >"$work/nfpm.log" 2>&1 || { cat "$work/nfpm.log" >&2; return 1; }; done
}

platform linux amd64
platform linux arm64
platform darwin arm64
[ -x "$work/$host/pgcourier" ] || { echo "a release is made on linux/amd64 or linux/arm64, and this is $host" >&2; exit 1; }
manual
for arch in amd64 arm64; do
	archive linux "$arch"
	packages "$arch"
done
archive darwin arm64
(cd dist && sha256sum -- * >SHA256SUMS)
cat dist/SHA256SUMS
