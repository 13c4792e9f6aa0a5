{{- define "frequency.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* At most 40 characters: the names of pods and Services add to it. */}}
{{- define "frequency.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "frequency.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "frequency.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "frequency.matchLabels" -}}
app.kubernetes.io/name: {{ include "frequency.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "frequency.labels" -}}
{{ include "frequency.matchLabels" . }}
app.kubernetes.io/part-of: frequency
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (replace "+" "_" .Chart.Version) }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of pods. Without versions: a new chart alone restarts nothing. */}}
{{- define "frequency.podLabels" -}}
{{ include "frequency.matchLabels" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* (list context role) */}}
{{- define "frequency.serviceAccountName" -}}
{{- $root := index . 0 }}
{{- $role := index . 1 }}
{{- $account := (get $root.Values $role).serviceAccount }}
{{- if $account.name }}
{{- $account.name }}
{{- else if $account.create }}
{{- printf "%s-%s" (include "frequency.fullname" $root) $role }}
{{- else }}
{{- "default" }}
{{- end }}
{{- end }}

{{- define "frequency.image" -}}
{{- $image := .Values.image }}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{/*
The text of a setting. Helm reads numbers of a file as float64, and would write 200000000 as 2e+08. It reads `on` and
`off` without quotation marks as booleans.
*/}}
{{- define "frequency.text" -}}
{{- if kindIs "float64" . }}{{ int64 . }}{{ else if kindIs "bool" . }}{{ ternary "on" "off" . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/* Variables from the settings of all roles and those of one. (list context role) */}}
{{- define "frequency.settings" -}}
{{- $root := index . 0 }}
{{- $role := index . 1 }}
{{- $settings := merge (dict) (get $root.Values $role).settings $root.Values.settings }}
{{- range $name := keys $settings | sortAlpha }}
- name: {{ $name }}
  value: {{ include "frequency.text" (get $settings $name) | quote }}
{{- end }}
{{- end }}

{{- define "frequency.brokerEnv" -}}
- name: AMQP_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.broker.existingSecret }}
      key: {{ .Values.broker.urlKey }}
- name: AMQP_QUEUE
  value: {{ .Values.broker.queue | quote }}
{{- end }}

{{- define "frequency.archiveEnv" -}}
{{- $aws := .Values.archive.aws }}
- name: ARCHIVE_URL
  value: {{ .Values.archive.url | quote }}
{{- with $aws.region }}
- name: AWS_REGION
  value: {{ . | quote }}
{{- end }}
{{- with $aws.endpoint }}
- name: AWS_ENDPOINT_URL_S3
  value: {{ . | quote }}
{{- end }}
{{- if $aws.forcePathStyle }}
- name: S3_FORCE_PATH_STYLE
  value: "true"
{{- end }}
{{- if $aws.existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ $aws.existingSecret }}
      key: {{ $aws.accessKeyIdKey }}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ $aws.existingSecret }}
      key: {{ $aws.secretAccessKeyKey }}
{{- with $aws.sessionTokenKey }}
- name: AWS_SESSION_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ $aws.existingSecret }}
      key: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where the program writes, and whom it trusts: the same in every pod. */}}
{{- define "frequency.commonEnv" -}}
- name: DATA_DIR
  value: /data
- name: TMPDIR
  value: /data
{{- if .Values.ca.existingConfigMap }}
- name: NODE_EXTRA_CA_CERTS
  value: /etc/frequency/ca/ca.crt
{{- end }}
{{- end }}

{{- define "frequency.pluginsEnv" -}}
{{- if .Values.plugins.existingConfigMap }}
{{- $paths := list }}
{{- range .Values.plugins.files }}
{{- $paths = append $paths (printf "/etc/frequency/plugins/%s" .) }}
{{- end }}
- name: PLUGINS
  value: {{ join "," $paths | quote }}
{{- end }}
{{- end }}

{{- define "frequency.commonMounts" -}}
- name: data
  mountPath: /data
{{- if .Values.ca.existingConfigMap }}
- name: ca
  mountPath: /etc/frequency/ca
  readOnly: true
{{- end }}
{{- if .Values.plugins.existingConfigMap }}
- name: plugins
  mountPath: /etc/frequency/plugins
  readOnly: true
{{- end }}
{{- end }}

{{- define "frequency.commonVolumes" -}}
{{- if .Values.ca.existingConfigMap }}
- name: ca
  configMap:
    name: {{ .Values.ca.existingConfigMap }}
    items:
      - key: {{ .Values.ca.key }}
        path: ca.crt
{{- end }}
{{- if .Values.plugins.existingConfigMap }}
- name: plugins
  configMap:
    name: {{ .Values.plugins.existingConfigMap }}
{{- end }}
{{- end }}

{{- define "frequency.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "frequency.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The start reads the whole spool, and waits for the archive. */}}
{{- define "frequency.probes" -}}
startupProbe:
  httpGet:
    path: /healthz
    port: admin
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 150
livenessProbe:
  httpGet:
    path: /healthz
    port: admin
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: admin
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}

{{/* What all pods of a role have in common. (list context role) */}}
{{- define "frequency.podPlacement" -}}
{{- $root := index . 0 }}
{{- $role := index . 1 }}
{{- $values := get $root.Values $role }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
serviceAccountName: {{ include "frequency.serviceAccountName" . }}
automountServiceAccountToken: false
# The variables of Services would look like settings: a Service named admin would set ADMIN_PORT.
enableServiceLinks: false
securityContext:
  {{- include "frequency.podSecurity" $root | nindent 2 }}
{{- with (default $root.Values.priorityClassName $values.priorityClassName) }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* (list context role) */}}
{{- define "frequency.topologySpread" -}}
{{- $root := index . 0 }}
{{- $role := index . 1 }}
topologySpreadConstraints:
{{- with (get $root.Values $role).topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "frequency.matchLabels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ $role }}
{{- end }}
{{- end }}
{{- end }}

{{/* Whether clients outside of the cluster may reach the events' port. */}}
{{- define "frequency.isExposed" -}}
{{- if or .Values.ingress.enabled .Values.httpRoute.enabled (ne .Values.ingest.service.type "ClusterIP") }}true{{ end }}
{{- end }}

{{/* Ends the rendering if values contradict each other. */}}
{{- define "frequency.checkValues" -}}
{{- if not .Values.broker.existingSecret }}
{{- fail "broker.existingSecret: name the Secret that has the URL of RabbitMQ." }}
{{- end }}
{{- if not .Values.archive.url }}
{{- fail "archive.url: say where events are archived, as s3://bucket/prefix." }}
{{- end }}
{{- include "frequency.checkArchiveUrl" . }}
{{- if and (include "frequency.isExposed" .) (not .Values.writeKeys.existingSecret) (not .Values.writeKeys.anonymous) }}
{{- fail "writeKeys.existingSecret: without write keys anybody can send events. Name a Secret, or set writeKeys.anonymous=true." }}
{{- end }}
{{- if and .Values.plugins.existingConfigMap (not .Values.plugins.files) }}
{{- fail "plugins.files: name the keys of the ConfigMap that are plugins." }}
{{- end }}
{{- if and .Values.plugins.existingConfigMap (or .Values.settings.PLUGINS .Values.ingest.settings.PLUGINS .Values.archive.settings.PLUGINS) }}
{{- fail "PLUGINS: it follows from plugins.files. Leave it out." }}
{{- end }}
{{- if and (not .Values.ingest.persistence.enabled) (or .Values.settings.SPOOL .Values.ingest.settings.SPOOL) }}
{{- fail "SPOOL: it is off without ingest.persistence. Leave it out." }}
{{- end }}
{{- if and (eq .Values.archive.autoscaling.type "hpa") (not .Values.archive.autoscaling.metrics) }}
{{- fail "archive.autoscaling.metrics: name a metric of the queue. The mean CPU of archivers says nothing, because one of them does most of the work." }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.parentRefs: name the Gateway." }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.hosts: name a host." }}
{{- end }}
{{- end }}

{{/* A directory has to be on a volume of the user's: all else in a pod goes with it. */}}
{{- define "frequency.checkArchiveUrl" -}}
{{- $path := .Values.archive.url | trimPrefix "file://" }}
{{- if hasPrefix "/" $path }}
{{- $isMounted := false }}
{{- range .Values.archive.extraVolumeMounts }}
{{- $mount := printf "%s/" (trimSuffix "/" .mountPath) }}
{{- if hasPrefix $mount (printf "%s/" $path) }}
{{- $isMounted = true }}
{{- end }}
{{- end }}
{{- if not $isMounted }}
{{- fail (printf "archive.url: %s is in no volume of archive.extraVolumeMounts, and would go with the pod. Use s3://bucket/prefix, or mount a volume that all archivers share." .Values.archive.url) }}
{{- end }}
{{- end }}
{{- end }}
