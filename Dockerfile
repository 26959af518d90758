# pgcourier with the client tools of every supported major version of PostgreSQL. It needs BuildKit, the
# default from Docker 23:
#
#   docker build --build-arg VERSION=1.2.3 -t pgcourier .
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=1.2.3 -t registry.example.org/pgcourier:1.2.3 --push .
FROM --platform=$BUILDPLATFORM golang:1.26-trixie AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY events events
COPY handlers handlers
COPY internal internal
COPY schemas schemas
ARG VERSION=dev
# The other platform is compiled for, not emulated. Without BuildKit's arguments it is this one.
ARG TARGETOS
ARG TARGETARCH
RUN --mount=type=cache,target=/root/.cache/go-build GOOS=${TARGETOS} GOARCH=${TARGETARCH} CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/pgcourier ./cmd/pgcourier

FROM debian:trixie-slim
# pgdg: PostgreSQL's repository has every major. debian: what Debian has, with the releases of
# DEBIAN_SUITES beside trixie's own 17; then PG_MAJORS must name what these have.
ARG PG_SOURCE=pgdg
ARG PG_MAJORS="13 14 15 16 17 18"
ARG PGDG_URL=https://apt.postgresql.org/pub/repos/apt
ARG DEBIAN_SUITES=
COPY deploy/image/clients.sh /tmp/clients.sh
# The folders belong to group 0, because OpenShift runs an image as any user of that group.
RUN sh /tmp/clients.sh && rm /tmp/clients.sh \
 && useradd --system --uid 10001 --gid 0 --home-dir /var/lib/pgcourier --create-home pgcourier \
 && install -d -o 10001 -g 0 -m 0770 /var/lib/pgcourier /var/lib/pgcourier/data /var/lib/pgcourier/exports
COPY --from=build /out/pgcourier /usr/local/bin/pgcourier
ARG VERSION=dev
ARG REVISION=
LABEL org.opencontainers.image.title="pgcourier" \
      org.opencontainers.image.description="Exports of single projects of a PostgreSQL platform, as events on NATS JetStream" \
      org.opencontainers.image.source="https://github.com/pgcourier/pgcourier" \
      org.opencontainers.image.documentation="https://github.com/pgcourier/pgcourier/blob/main/docs/install.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:0
WORKDIR /var/lib/pgcourier
ENV HOME=/var/lib/pgcourier \
    PGCOURIER_DATA_DIR=/var/lib/pgcourier/data \
    PGCOURIER_STORAGE=file:///var/lib/pgcourier/exports \
    PGCOURIER_HTTP_ADDR=127.0.0.1:8321 \
    PGCOURIER_LOG_FORMAT=json
VOLUME ["/var/lib/pgcourier/data", "/var/lib/pgcourier/exports"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["pgcourier", "health", "--live"]
# No init before it: as PID 1 the program handles SIGTERM and reaps what its children leave.
ENTRYPOINT ["pgcourier"]
CMD ["serve"]
