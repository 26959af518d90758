{{/* What the schema cannot say. Every message names the value to change. */}}
{{- define "pgcourier.checks" -}}
{{- $v := .Values -}}
{{- if not (include "pgcourier.components" .) -}}
{{- fail "no role is enabled: set worker.enabled, notifier.enabled, verifier.enabled, restorer.enabled or api.enabled" -}}
{{- end -}}
{{- if not $v.image.repository -}}
{{- fail "image.repository is empty: no image is published. Build it from the Dockerfile, push it to your registry, and name it here" -}}
{{- end -}}
{{- if not (or $v.image.tag $v.image.digest) -}}
{{- fail "image.tag is empty: name the version that you pushed, or image.digest" -}}
{{- end -}}
{{- range $component := splitList " " (include "pgcourier.components" .) -}}
{{- if not (or $v.settings.PGCOURIER_NATS_URL (index $v $component).secretFiles.PGCOURIER_NATS_URL_FILE) -}}
{{- fail "settings.PGCOURIER_NATS_URL is empty: the chart brings no NATS. Name yours, such as nats://nats.nats:4222" -}}
{{- end -}}
{{- end -}}
{{- if not $v.storage.urls -}}
{{- fail "storage.urls is empty: name at least one destination, such as s3://bucket/prefix?region=eu-west-1" -}}
{{- end -}}
{{- if and $v.worker.enabled (not $v.encryption.recipients) (not $v.encryption.allowUnencrypted) -}}
{{- fail "encryption.recipients is empty: name the public line of an age key. To store exports unencrypted set encryption.allowUnencrypted to true" -}}
{{- end -}}
{{- range $name := list "PGCOURIER_STORAGE" "PGCOURIER_AGE_RECIPIENTS" "PGCOURIER_DRAIN_TIMEOUT" "PGCOURIER_ROLES" "PGCOURIER_NATS_KEYS" "PGCOURIER_HTTP_ADDR" "PGCOURIER_API_ADDR" "PGCOURIER_DATA_DIR" -}}
{{- if hasKey $v.settings $name -}}
{{- fail (printf "settings.%s: the chart sets it from other values (storage.urls, encryption.recipients, drainSeconds, roles) or relies on it. Remove it" $name) -}}
{{- end -}}
{{- range $component := list "worker" "notifier" "verifier" "restorer" "api" -}}
{{- if hasKey (index $v $component).env $name -}}
{{- fail (printf "%s.env.%s: the chart sets it from other values (storage.urls, encryption.recipients, drainSeconds, roles) or relies on it. Remove it" $component $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $behindProxy := $v.settings.PGCOURIER_API_BEHIND_PROXY -}}
{{- if hasKey $v.api.env "PGCOURIER_API_BEHIND_PROXY" -}}{{- $behindProxy = $v.api.env.PGCOURIER_API_BEHIND_PROXY -}}{{- end -}}
{{- if and $v.api.enabled $v.networkPolicy.enabled (not $v.networkPolicy.apiFrom) (eq (toString $behindProxy) "true") -}}
{{- fail "networkPolicy.apiFrom is empty and PGCOURIER_API_BEHIND_PROXY is true: every pod of the cluster could call the API without TLS and name any address as the caller's. Name the pods of your proxy, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress-nginx}}}]. If a policy of your own restricts the port, set networkPolicy.enabled to false" -}}
{{- end -}}
{{- if and $v.worker.autoscaling.enabled $v.worker.keda.enabled -}}
{{- fail "worker.autoscaling and worker.keda are both enabled: two scalers would set the same number. Choose one" -}}
{{- end -}}
{{- if and $v.worker.keda.enabled (not $v.worker.keda.monitoringEndpoint) -}}
{{- fail "worker.keda.monitoringEndpoint is empty: KEDA reads the queue's length there, such as nats.nats.svc.cluster.local:8222" -}}
{{- end -}}
{{- if and $v.api.ingress.enabled (not $v.api.enabled) -}}
{{- fail "api.ingress is enabled and the API is not: set api.enabled to true" -}}
{{- end -}}
{{- if and $v.api.ingress.enabled (not $v.api.ingress.host) -}}
{{- fail "api.ingress.host is empty: name the host at which callers reach the API" -}}
{{- end -}}
{{- if and $v.notifier.enabled (include "pgcourier.publicURL" .) (not $v.notifier.secretFiles.PGCOURIER_LINK_KEY_FILE) -}}
{{- fail "notifier.secretFiles.PGCOURIER_LINK_KEY_FILE is missing: with a public address the notifier sends links, and makes them with the API's key" -}}
{{- end -}}
{{- if and $v.restorer.enabled (not (or $v.settings.PGCOURIER_RESTORE_QUERY $v.restorer.env.PGCOURIER_RESTORE_QUERY)) -}}
{{- fail "restorer.env.PGCOURIER_RESTORE_QUERY is missing: it says where each project's restores go, and without it every one is refused" -}}
{{- end -}}
{{- include "pgcourier.checkFolder" . -}}
{{- end -}}

{{- define "pgcourier.checkFolder" -}}
{{- $claim := .Values.storage.claim -}}
{{- if include "pgcourier.folder" . -}}
{{- range .Values.storage.urls -}}
{{- if and (hasPrefix "file:" .) (ne . (printf "file://%s" (include "pgcourier.exports" $))) -}}
{{- fail (printf "storage.urls: %s is not on a volume: the claim is mounted at file://%s" . (include "pgcourier.exports" $)) -}}
{{- end -}}
{{- end -}}
{{- if not (or $claim.existingClaim $claim.create) -}}
{{- fail "storage.urls has a folder and storage.claim no claim: exports would be lost with their pod. Name storage.claim.existingClaim, or set storage.claim.create to true" -}}
{{- end -}}
{{- if ne $claim.accessMode "ReadWriteMany" -}}
{{- $workers := .Values.worker.replicas | int -}}
{{- if .Values.worker.autoscaling.enabled -}}{{- $workers = .Values.worker.autoscaling.maxReplicas | int -}}{{- end -}}
{{- if .Values.worker.keda.enabled -}}{{- $workers = .Values.worker.keda.maxReplicas | int -}}{{- end -}}
{{- $pods := 0 -}}
{{- if .Values.worker.enabled -}}{{- $pods = add $pods $workers -}}{{- end -}}
{{- if .Values.verifier.enabled -}}{{- $pods = add $pods (.Values.verifier.replicas | int) -}}{{- end -}}
{{- if .Values.restorer.enabled -}}{{- $pods = add $pods (.Values.restorer.replicas | int) -}}{{- end -}}
{{- if .Values.api.enabled -}}{{- $pods = add $pods (.Values.api.replicas | int) -}}{{- end -}}
{{- if gt ($pods | int) 1 -}}
{{- fail (printf "storage.claim.accessMode is %s, and up to %d pods of workers, verifiers, restorers and the API would use the volume: on another node it cannot be mounted, and exports of one could not be read by the others. Use a claim with ReadWriteMany, or S3, or worker.replicas 1 without verifier, restorer and API" $claim.accessMode ($pods | int)) -}}
{{- end -}}
{{- end -}}
{{- else if or $claim.existingClaim $claim.create -}}
{{- fail (printf "storage.claim names a volume and storage.urls has no folder: add file://%s, or remove the claim" (include "pgcourier.exports" .)) -}}
{{- end -}}
{{- end -}}
