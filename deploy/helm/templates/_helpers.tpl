{{- define "pgcourier.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "pgcourier.fullname" -}}
{{- $name := include "pgcourier.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pgcourier.selector" -}}
app.kubernetes.io/name: {{ include "pgcourier.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pgcourier.labels" -}}
{{ include "pgcourier.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end -}}

{{- define "pgcourier.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository .Values.image.tag -}}
{{- end -}}
{{- end -}}

{{/* The roles that are enabled, as words. */}}
{{- define "pgcourier.components" -}}
{{- $all := list -}}
{{- range list "worker" "notifier" "verifier" "restorer" "api" -}}
{{- if (index $.Values .).enabled -}}{{- $all = append $all . -}}{{- end -}}
{{- end -}}
{{- join " " $all -}}
{{- end -}}

{{- define "pgcourier.exports" -}}/var/lib/pgcourier/exports{{- end -}}

{{- define "pgcourier.claim" -}}
{{- .Values.storage.claim.existingClaim | default (printf "%s-exports" (include "pgcourier.fullname" .)) -}}
{{- end -}}

{{/* "true" if a destination is a folder. */}}
{{- define "pgcourier.folder" -}}
{{- range .Values.storage.urls -}}{{- if hasPrefix "file:" . -}}true{{- end -}}{{- end -}}
{{- end -}}

{{- define "pgcourier.publicURL" -}}
{{- if .Values.settings.PGCOURIER_PUBLIC_URL -}}
{{- .Values.settings.PGCOURIER_PUBLIC_URL -}}
{{- else if and .Values.api.enabled .Values.api.ingress.enabled -}}
{{- printf "https://%s" .Values.api.ingress.host -}}
{{- end -}}
{{- end -}}
