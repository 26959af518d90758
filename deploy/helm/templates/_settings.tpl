{{/* The data of the ConfigMap. */}}
{{- define "pgcourier.settings" -}}
{{- $settings := dict
  "PGCOURIER_NATS_KEYS" "/run/secrets/pgcourier"
  "PGCOURIER_HTTP_ADDR" "0.0.0.0:8321"
  "PGCOURIER_DRAIN_TIMEOUT" (printf "%ds" (.Values.drainSeconds | int))
  "PGCOURIER_STORAGE" (join "," .Values.storage.urls) -}}
{{- with include "pgcourier.publicURL" . -}}{{- $_ := set $settings "PGCOURIER_PUBLIC_URL" . -}}{{- end -}}
{{- range $name, $value := .Values.settings -}}
{{- if ne (toString $value) "" -}}{{- $_ := set $settings $name (toString $value) -}}{{- end -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}
