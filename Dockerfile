# The worker with pg_dump beside it. Build: docker build -t pgcourier .
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
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/pgcourier ./cmd/pgcourier

FROM debian:trixie-slim
# pg_dump must be at least as new as the server it dumps: trixie's is 17.
RUN apt-get update \
 && apt-get install -y --no-install-recommends postgresql-client-17 ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /var/lib/pgcourier --create-home pgcourier \
 && install -d -o pgcourier -g pgcourier -m 0700 /var/lib/pgcourier/data /var/lib/pgcourier/exports
COPY --from=build /out/pgcourier /usr/local/bin/pgcourier
USER pgcourier
WORKDIR /var/lib/pgcourier
ENV PGCOURIER_DATA_DIR=/var/lib/pgcourier/data \
    PGCOURIER_STORAGE=file:///var/lib/pgcourier/exports \
    PGCOURIER_HTTP_ADDR=127.0.0.1:8321 \
    PGCOURIER_LOG_FORMAT=json
VOLUME ["/var/lib/pgcourier/data", "/var/lib/pgcourier/exports"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["pgcourier", "health", "--live"]
ENTRYPOINT ["pgcourier"]
CMD ["serve"]
