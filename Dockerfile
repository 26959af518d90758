# The worker with pg_dump beside it. Build: docker build -t pgcourier . (with BuildKit, the default from Docker 23)
FROM golang:1.26-trixie AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY events events
COPY handlers handlers
COPY internal internal
COPY schemas schemas
ARG VERSION=dev
RUN --mount=type=cache,target=/root/.cache/go-build CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/pgcourier ./cmd/pgcourier

FROM debian:trixie-slim
# pg_dump must be at least as new as the server it dumps: trixie's is 17. The folders belong to group 0,
# because OpenShift runs an image as any user of that group.
RUN apt-get update \
 && apt-get install -y --no-install-recommends postgresql-client-17 ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --gid 0 --home-dir /var/lib/pgcourier --create-home pgcourier \
 && install -d -o 10001 -g 0 -m 0770 /var/lib/pgcourier /var/lib/pgcourier/data /var/lib/pgcourier/exports
COPY --from=build /out/pgcourier /usr/local/bin/pgcourier
USER 10001:0
WORKDIR /var/lib/pgcourier
ENV HOME=/var/lib/pgcourier \
    PGCOURIER_DATA_DIR=/var/lib/pgcourier/data \
    PGCOURIER_STORAGE=file:///var/lib/pgcourier/exports \
    PGCOURIER_HTTP_ADDR=127.0.0.1:8321 \
    PGCOURIER_LOG_FORMAT=json
VOLUME ["/var/lib/pgcourier/data", "/var/lib/pgcourier/exports"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["pgcourier", "health", "--live"]
ENTRYPOINT ["pgcourier"]
CMD ["serve"]
