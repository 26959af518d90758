#!/usr/bin/env bash
# Builds the image and runs it: a matrix of users, read-only roots and capabilities, the compose file with
# restarts and kills of each service, and an export that is larger than its memory limit. Every step ends the
# run when it fails.
#
#   run.sh [STEP...]      build matrix story drain vanish memory majors; without a step all of them
#
# It needs Docker with BuildKit and Compose. PG_SOURCE, PG_MAJORS, PGDG_URL and DEBIAN_SUITES are those of the
# Dockerfile. BASES=debian makes the base images first, from roots of debootstrap (see bases.sh), and takes the
# clients from Debian, 15 and 17. If no engine runs, it then starts one for the run (see engine.sh).
set -euo pipefail
cd "$(dirname "$0")/../../.."
here=internal/dev/images
export COMPOSE_PROJECT_NAME=pgcourier-images
compose=(docker compose --file deploy/compose/compose.yaml --file $here/compose.yaml)
if [ "${BASES:-}" = debian ]; then
	if [ -z "${DOCKER_HOST:-}" ] && ! docker info >/dev/null 2>&1; then exec $here/engine.sh build/docker $here/run.sh "$@"; fi
	PG_SOURCE=${PG_SOURCE:-debian} PG_MAJORS=${PG_MAJORS:-15 17} DEBIAN_SUITES=${DEBIAN_SUITES:-bookworm}
fi
image_args=(--network host)
for name in PG_SOURCE PG_MAJORS PGDG_URL DEBIAN_SUITES; do
	[ -z "${!name:-}" ] || image_args+=(--build-arg "$name=${!name}")
done
work=$(mktemp -d)
clear_all() {
	docker rm --force --volumes pgcourier-one postgres-old >/dev/null 2>&1 || true
	"${compose[@]}" down --volumes --remove-orphans --timeout 5 >/dev/null 2>&1 || true
}
trap 'status=$?; [ $status = 0 ] || { "${compose[@]}" logs --tail 30 || true; }; clear_all; rm -rf "$work"; exit $status' EXIT
trap 'exit 1' HUP INT TERM
clear_all # what a run that was killed has left

say() { printf '%s %s\n' "$(date -u +%T)" "$*"; }
die() { say "FAILED: $*" >&2; exit 1; }
run() { "${compose[@]}" exec -T worker pgcourier "$@"; }
sql() { "${compose[@]}" exec -T postgres psql --username=postgres --no-psqlrc --tuples-only --no-align --set=ON_ERROR_STOP=1 "$@"; }

# field NAME prints the first value of a name in JSON.
field() { tr -d '\n' | sed -nE "s/.*\"$1\": *\"?([^\",}]*)\"?.*/\1/p"; }

# until_ok COMMAND repeats a command that asks for a fact, for two minutes at most.
until_ok() {
	for ((i = 0; i < 240; i++)); do
		if "$@" >"$work/last" 2>&1; then return 0; fi
		sleep 0.5
	done
	cat "$work/last" >&2
	die "never true: $*"
}

# export_one [FLAGS] asks for an export of acme and prints its id.
export_one() {
	run request acme --wait --output json "$@" >"$work/outcome" 2>"$work/errors" || { cat "$work/outcome" "$work/errors" >&2; die "request acme $*"; }
	field request_id <"$work/outcome"
}

build() {
	[ "${BASES:-}" != debian ] || $here/bases.sh
	say "building the image"
	docker build "${image_args[@]}" --build-arg VERSION=test --tag pgcourier:images . >"$work/build" 2>&1 || { tail -n 40 "$work/build" >&2; die "docker build"; }
	say "the image has $(docker image inspect --format '{{.Size}}' pgcourier:images | awk '{printf "%.0f MB", $1/1e6}'), the program $(docker run --rm --entrypoint stat pgcourier:images -c %s /usr/local/bin/pgcourier | awk '{printf "%.0f MB", $1/1e6}')"
	docker run --rm --entrypoint sh pgcourier:images -c 'for f in /usr/lib/postgresql/*/bin/pg_dump; do $f --version; done'
}

up() { "${compose[@]}" up --detach --wait --quiet-pull "$@" >"$work/up" 2>&1 || { cat "$work/up" >&2; die "compose up"; }; }

# matrix runs a worker with its own embedded broker under each user, root and set of capabilities.
matrix() {
	up postgres
	printf '%-16s %-10s %-12s %s\n' user root capabilities result
	local n=0 user root caps flags database
	for user in 10001:0 1000660000:0; do
		for root in writable read-only; do
			for caps in default none; do
				n=$((n + 1)) database=matrix_$n flags=()
				[ $root = writable ] || flags+=(--read-only --tmpfs /tmp)
				[ $caps = default ] || flags+=(--cap-drop ALL --security-opt no-new-privileges)
				sql --command "CREATE DATABASE $database" >/dev/null
				sql --dbname=$database --file=/docker-entrypoint-initdb.d/platform.sql >/dev/null
				docker run --detach --name pgcourier-one --network ${COMPOSE_PROJECT_NAME}_default --user $user "${flags[@]}" --memory 256m --pids-limit 100 \
					--env PGCOURIER_DATABASE_URL="postgres://postgres:pgcourier@postgres:5432/$database?sslmode=disable" pgcourier:images >/dev/null
				until_ok docker exec pgcourier-one pgcourier health
				docker exec pgcourier-one pgcourier request acme --wait --output json >"$work/outcome" 2>&1 || { cat "$work/outcome"; docker logs pgcourier-one 2>&1 | tail -n 20; die "export as $user, $root root, capabilities $caps"; }
				grep -q '"rows": *10000' "$work/outcome" || { cat "$work/outcome"; die "the export has not 10000 rows"; }
				docker exec pgcourier-one pgcourier verify "acme/$(field request_id <"$work/outcome")" >"$work/verify" 2>&1 || { cat "$work/verify"; die "verify as $user"; }
				docker stop --time 60 pgcourier-one >/dev/null
				local code
				code=$(docker inspect --format '{{.State.ExitCode}}' pgcourier-one)
				[ "$code" = 0 ] || die "ended with $code after SIGTERM"
				docker rm --volumes pgcourier-one >/dev/null
				printf '%-16s %-10s %-12s %s\n' $user $root $caps "exported 10000 rows, verified, ended with 0"
			done
		done
	done
}

# story is a day of the compose file: an export and its restore, each service restarted and killed, all of it
# taken down and up again.
story() {
	up
	local first id before service
	first=$(export_one)
	say "exported acme/$first"
	run verify "acme/$first" >"$work/verify" 2>&1 || { cat "$work/verify"; die "verify"; }
	say "verified: $(tail -n 1 "$work/verify")"
	restored "$first"
	for service in postgres nats worker; do
		"${compose[@]}" restart --timeout 60 $service >/dev/null 2>&1 || die "restart of $service"
		until_ok run health
		id=$(export_one)
		say "restarted $service: exported acme/$id"
	done
	for service in postgres nats worker; do
		id=killed-$service
		lock
		run request acme --id $id >/dev/null
		until_ok running $id
		"${compose[@]}" kill --signal SIGKILL $service >/dev/null 2>&1 || die "kill of $service"
		"${compose[@]}" start $service >/dev/null 2>&1 || die "start of $service"
		until_ok run health
		until_ok unlock
		until_ok completed $id
		say "killed $service during an export: acme/$id completed at attempt $(run show "acme/$id" --output json | field attempt)"
	done
	before=$(run list --output json)
	"${compose[@]}" down --timeout 60 >/dev/null 2>&1 || die "down"
	up
	[ "$(run list --output json)" = "$before" ] || { run list; die "after down and up the list differs"; }
	run verify "acme/$first" >"$work/verify" 2>&1 || { cat "$work/verify"; die "verify after down and up"; }
	id=$(export_one)
	say "down and up: the list of exports is as before, acme/$first is verified, acme/$id exported"
	no_zombies
}

# lock holds a lock on acme's table, so that an export is running and waits. unlock ends it.
lock() {
	sql --dbname=platform --command "SET application_name = 'holder'; BEGIN; LOCK TABLE tenant_acme.orders; SELECT pg_sleep(3600)" >/dev/null 2>&1 &
	until_ok locked
}
locked() { [ "$(sql --command "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holder' AND wait_event = 'PgSleep'")" = 1 ]; }
unlock() { [ "$(sql --command "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'holder'")" -ge 0 ]; }
running() { run show "acme/$1" --output json | grep -q '"state": *"running"'; }
cancelled() { run show "acme/$1" --output json | grep -q '"code": *"cancelled"'; }
completed() { run show "acme/$1" --output json | grep -q '"state": *"completed"'; }

# restored feeds an export to a new database and counts its rows.
restored() {
	sql --command 'CREATE DATABASE restored' >/dev/null
	"${compose[@]}" exec -T --env PGCOURIER_RESTORE_URL='postgres://postgres:pgcourier@postgres:5432/restored?sslmode=disable' worker \
		pgcourier restore "acme/$1" >"$work/restore" 2>&1 || { cat "$work/restore"; die "restore"; }
	local rows
	rows=$(sql --dbname=restored --command 'SELECT count(*) FROM tenant_acme.orders')
	[ "$rows" = 10000 ] || die "restored are $rows rows"
	say "restored $rows rows"
}

# no_zombies looks at what the first process has left: a cancelled export of format directory has children that
# are killed with it.
no_zombies() {
	local n
	for n in 1 2 3; do
		lock
		run request acme --format directory --id "cancelled-$n" >/dev/null
		until_ok running "cancelled-$n"
		run cancel "acme/cancelled-$n" >/dev/null || die "cancel"
		until_ok cancelled "cancelled-$n"
		until_ok unlock
	done
	until_ok none_left
	say "cancelled three exports of format directory: no process is left"
}
none_left() { ! "${compose[@]}" exec -T worker sh -c 'cat /proc/[0-9]*/stat' | grep -E '\) Z |\(pg_dump\)'; }

# drain stops a worker while an export runs: it lives and says so until the export has ended. A second SIGTERM
# ends it at once.
drain() {
	up
	local container code
	container=$("${compose[@]}" ps --quiet worker)
	lock
	run request acme --id drained >/dev/null
	until_ok running drained
	docker stop --time 120 "$container" >/dev/null &
	until_ok draining
	run health --live >/dev/null || die "a worker that drains does not live"
	until_ok unlock
	wait $!
	code=$(docker inspect --format '{{.State.ExitCode}}' "$container")
	[ "$code" = 0 ] || die "ended with $code after a drain"
	up
	completed drained || die "the export was cut off"
	say "SIGTERM during an export: it lived, said that it drains, completed the export and ended with 0"
	lock
	run request acme --id twice >/dev/null
	until_ok running twice
	docker kill --signal TERM "$container" >/dev/null
	until_ok draining
	docker kill --signal TERM "$container" >/dev/null
	code=$(docker wait "$container")
	[ "$code" = 143 ] || die "ended with $code after a second SIGTERM"
	up
	until_ok unlock
	until_ok completed twice
	say "a second SIGTERM: ended with 143, the next worker completed the export"
	[ -z "$(docker logs "$container" 2>&1 | sed -n 's/.*"msg":"serving","worker":"\([^"]*\)".*/\1/p' | sort | uniq -d)" ] || die "two starts have the same name"
}
draining() { ! run health >"$work/health" 2>&1 && grep -q draining "$work/health"; }

# vanish takes a worker off the network during an export and kills it then, so that no server is told.
vanish() {
	up --scale worker=2
	local container
	lock
	run request acme --id vanished >/dev/null
	until_ok running vanished
	container=$(run show acme/vanished --output json | tr -d '\n' | sed -E 's/.*"worker": *"([0-9a-f]{12}).*/\1/')
	docker network disconnect --force ${COMPOSE_PROJECT_NAME}_default "$container"
	docker kill --signal KILL "$container" >/dev/null
	until_ok unlock
	until_ok taken vanished "$container"
	until_ok nothing_left
	say "a worker vanished during an export: another one completed it at attempt $(survivor show acme/vanished --output json | field attempt), and nothing of the lost one holds a snapshot or a lock"
	"${compose[@]}" rm --stop --force worker >/dev/null 2>&1 || die "rm worker" # the lost one has no network any more
	up
}
# survivor runs a command in a worker that is up, whatever its number is.
survivor() { docker exec "$("${compose[@]}" ps --quiet --status running worker | head -n 1)" pgcourier "$@"; }
taken() { survivor show "acme/$1" --output json | grep -q '"state": *"completed"'; }
# A session that does something belongs to a container that runs. Idle connections of the lost worker's pool
# hold nothing: the server's own keepalives end them.
nothing_left() {
	local addresses
	addresses=$(docker network inspect ${COMPOSE_PROJECT_NAME}_default --format '{{range .Containers}}{{.IPv4Address}} {{end}}' | sed 's#/[0-9]*##g')
	sql --command "SELECT host(client_addr) FROM pg_stat_activity WHERE client_addr IS NOT NULL AND (state <> 'idle' OR backend_xmin IS NOT NULL)" | sort -u | while read -r address; do
		case " $addresses " in (*" $address "*) ;; (*) echo "a session of $address is left"; exit 1;; esac
	done
}

# memory exports 1 GB within 128 MiB.
memory() {
	up
	sql --dbname=platform --command "CREATE TABLE tenant_acme.big AS SELECT n, repeat(md5(n::text), 16) AS text FROM generate_series(1, 2000000) AS n" >/dev/null
	docker update --memory 128m --memory-swap 128m "$("${compose[@]}" ps --quiet worker)" >/dev/null
	local id
	id=$(export_one --compression zstd)
	say "exported $(field size_bytes <"$work/outcome" | awk '{printf "%.2f GB", $1/1e9}') within 128 MiB as acme/$id; killed for memory: $(docker inspect --format '{{.State.OOMKilled}}' "$("${compose[@]}" ps --quiet worker)")"
	sql --dbname=platform --command "DROP TABLE tenant_acme.big" >/dev/null
}

# majors dumps a server of an older version beside the compose file's own, each by its own client.
majors() {
	up
	docker run --detach --name postgres-old --network ${COMPOSE_PROJECT_NAME}_default --env POSTGRES_PASSWORD=pgcourier --env POSTGRES_DB=old "postgres:${OLD_MAJOR:-15}" >/dev/null
	until_ok docker exec postgres-old pg_isready --username=postgres --dbname=old --host=127.0.0.1
	docker exec postgres-old psql --username=postgres --dbname=old --quiet --command 'CREATE SCHEMA tenant_old; CREATE TABLE tenant_old.t AS SELECT generate_series(1, 1000) AS n' >/dev/null
	sql --dbname=platform --command "ALTER TABLE control_plane.projects ADD COLUMN IF NOT EXISTS dsn text; INSERT INTO control_plane.projects VALUES ('old', 'Old', 'active', 'tenant_old', 'postgres://postgres:pgcourier@postgres-old:5432/old?sslmode=disable') ON CONFLICT DO NOTHING" >/dev/null
	PGCOURIER_PROJECT_QUERY="SELECT id, name, upper(status) = 'ACTIVE' AS active, ARRAY[schema_name] AS schemas, dsn FROM control_plane.projects WHERE id = \$1" \
		"${compose[@]}" --file $here/query.yaml up --detach --wait worker >"$work/up" 2>&1 || { cat "$work/up"; die "a worker with another query"; }
	local project
	for project in acme old; do
		run request $project --wait --output json >"$work/outcome" || die "request $project"
		say "$project: server $(field server_version <"$work/outcome"), pg_dump $(field pg_dump_version <"$work/outcome")"
		[ "$(field server_version <"$work/outcome" | cut -d. -f1)" = "$(field pg_dump_version <"$work/outcome" | cut -d. -f1)" ] || die "another major dumped $project"
	done
	docker exec postgres-old createdb --username=postgres restored
	"${compose[@]}" exec -T --env PGCOURIER_RESTORE_URL='postgres://postgres:pgcourier@postgres-old:5432/restored?sslmode=disable' worker \
		pgcourier restore "old/$(field request_id <"$work/outcome")" >"$work/restore" 2>&1 || { cat "$work/restore"; die "restore into the older server"; }
	[ "$(docker exec postgres-old psql --username=postgres --dbname=restored --tuples-only --no-align --command 'SELECT count(*) FROM tenant_old.t')" = 1000 ] || die "restored are other rows"
	say "old: restored into a server of its own version"
}

for step in ${*:-build matrix story drain vanish memory majors}; do
	say "== $step"
	$step
done
say "all of it held"
