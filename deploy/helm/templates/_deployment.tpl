{{/* The Deployment of a role. Call it with (dict "root" $ "component" "worker"). */}}
{{- define "pgcourier.deployment" -}}
{{- $root := .root -}}
{{- $component := .component -}}
{{- $role := index $root.Values $component -}}
{{- $folder := and (include "pgcourier.folder" $root) (ne $component "notifier") -}}
{{- $scaled := and (eq $component "worker") (or $role.autoscaling.enabled $role.keda.enabled) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "pgcourier.fullname" $root }}-{{ $component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "pgcourier.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ $component }}
spec:
  {{- if not $scaled }}
  replicas: {{ $role.replicas }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "pgcourier.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ $component }}
  strategy:
    {{- if and $folder (ne $root.Values.storage.claim.accessMode "ReadWriteMany") }}
    # One pod at a time may mount the volume: the old pod ends before the new one starts.
    type: Recreate
    {{- else }}
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
    {{- end }}
  template:
    metadata:
      labels:
        {{- include "pgcourier.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ $component }}
        {{- with $role.labels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        # A changed setting starts new pods.
        checksum/settings: {{ include "pgcourier.settings" $root | sha256sum }}
        {{- with $role.annotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      # Longer than PGCOURIER_DRAIN_TIMEOUT: running exports may finish.
      terminationGracePeriodSeconds: {{ add $root.Values.drainSeconds 60 }}
      {{- include "pgcourier.pod" (dict "root" $root "role" $role) | nindent 6 }}
      {{- with $role.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $role.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $role.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $role.topologySpreadConstraints }}
      topologySpreadConstraints:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $role.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      containers:
        - name: pgcourier
          image: {{ include "pgcourier.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: [serve, --roles, {{ join "," ($role.roles | default (list $component)) | quote }}]
          envFrom:
            - configMapRef: {name: {{ include "pgcourier.fullname" $root }}}
          env:
            {{- if eq $component "worker" }}
            {{- if $root.Values.encryption.recipients }}
            # The public line that `age-keygen -o key.txt` prints. Keep key.txt elsewhere: an export
            # cannot be opened without it. The worker refuses the line of the example.
            - {name: PGCOURIER_AGE_RECIPIENTS, value: {{ join "," $root.Values.encryption.recipients | quote }}}
            {{- end }}
            {{- end }}
            {{- if eq $component "api" }}
            - {name: PGCOURIER_API_ADDR, value: "0.0.0.0:8080"}
            {{- end }}
            {{- range $name, $file := $role.secretFiles }}
            {{- if $file }}
            - {name: {{ $name }}, value: {{ printf "/run/secrets/pgcourier/%s" $file | quote }}}
            {{- end }}
            {{- end }}
            {{- range $name, $value := $role.env }}
            - {name: {{ $name }}, value: {{ $value | quote }}}
            {{- end }}
          ports:
            - {name: http, containerPort: 8321}
            {{- if eq $component "api" }}
            - {name: api, containerPort: 8080}
            {{- end }}
          startupProbe:
            httpGet: {path: /healthz, port: http}
            periodSeconds: 2
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: /healthz, port: http}
            periodSeconds: 20
            timeoutSeconds: 5
          readinessProbe:
            httpGet: {path: /readyz, port: http}
            periodSeconds: 10
            timeoutSeconds: 5
          resources:
            {{- toYaml $role.resources | nindent 12 }}
          securityContext:
            {{- toYaml $root.Values.securityContext | nindent 12 }}
          volumeMounts:
            - {name: secrets, mountPath: /run/secrets/pgcourier, readOnly: true}
            - {name: data, mountPath: /var/lib/pgcourier/data}
            - {name: tmp, mountPath: /tmp}
            {{- if $folder }}
            - {name: exports, mountPath: {{ include "pgcourier.exports" $root }}}
            {{- end }}
      volumes:
        - name: secrets
          secret: {secretName: {{ $role.existingSecret }}, defaultMode: 0440}
        - name: data
          emptyDir: {sizeLimit: {{ $role.dataSize }}}
        - name: tmp
          emptyDir: {sizeLimit: {{ $role.tmpSize }}}
        {{- if $folder }}
        - name: exports
          persistentVolumeClaim: {claimName: {{ include "pgcourier.claim" $root }}}
        {{- end }}
{{- end -}}

{{/* What the pods of roles and Jobs share. */}}
{{- define "pgcourier.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .role.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- end -}}
