{{- define "arauto.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* The labels by which a role's pods are selected. They never change. */}}
{{- define "arauto.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "arauto.labels" -}}
{{ include "arauto.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* The image of a binary; its role's own tag comes before that of all. */}}
{{- define "arauto.image" -}}
{{- $image := .root.Values.image -}}
{{- $name := list $image.registry $image.repository .binary | compact | join "/" -}}
{{- $digest := get $image.digests .binary -}}
{{- if $digest }}{{ $name }}@{{ $digest }}{{ else }}{{ $name }}:{{ coalesce .tag $image.tag .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* The configuration: what the chart knows, and over it what config says. */}}
{{- define "arauto.config" -}}
{{- $gateway := dict "listen" "0.0.0.0:8080" "admin" "0.0.0.0:9090" -}}
{{- if .Values.roles.gateway.tls -}}
{{- $_ := set $gateway "tls" (dict "certificate" "/etc/arauto/tls/tls.crt" "key" "/etc/arauto/tls/tls.key") -}}
{{- else -}}
{{- $_ := set $gateway "plaintext" "behind-tls-proxy" -}}
{{- end -}}
{{- $own := dict "profile" "production" "hash_key" "${ARAUTO_HASH_KEY}" "nats" dict "gateway" $gateway -}}
{{- if .Values.secrets.broker -}}
{{- $_ := set $own "nats" (dict "user" "${NATS_USER}" "password" "${NATS_PASSWORD}") -}}
{{- end -}}
{{- range list "lookup" "normalize" "sweep" "expect" -}}
{{- $_ := set $own . (dict "admin" "0.0.0.0:9090") -}}
{{- end -}}
{{- if .Values.roles.console.enabled -}}
{{- $_ := set $own "console" (dict "listen" "0.0.0.0:8070" "admin" "0.0.0.0:9090" "plaintext" "behind-tls-proxy" "index" "/var/lib/arauto-console") -}}
{{- end -}}
{{- toYaml (mergeOverwrite $own (deepCopy .Values.config)) -}}
{{- end }}

{{/* What every pod has: no rights, and no token of Kubernetes. */}}
{{- define "arauto.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  {{- if eq .role "console" }}
  fsGroup: 65532
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.pod.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.pod.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.pod.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
volumes:
  - name: config
    configMap: {name: {{ .config }}}
{{- with .files }}
  - name: secrets
    secret: {secretName: {{ . }}, defaultMode: 0444}
{{- end }}
{{- with .tls }}
  - name: tls
    secret: {secretName: {{ . }}, defaultMode: 0444}
{{- end }}
{{- if eq .role "console" }}
  - name: index
    {{- if .claim }}
    persistentVolumeClaim: {claimName: {{ .claim }}}
    {{- else }}
    emptyDir: {}
    {{- end }}
{{- end }}
{{- end }}

{{/* What every container has. */}}
{{- define "arauto.container" -}}
image: {{ include "arauto.image" . | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources: {{ toYaml .resources | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/arauto/config, readOnly: true}
{{- if .files }}
  - {name: secrets, mountPath: /etc/arauto/secrets, readOnly: true}
{{- end }}
{{- if .tls }}
  - {name: tls, mountPath: /etc/arauto/tls, readOnly: true}
{{- end }}
{{- if eq .role "console" }}
  - {name: index, mountPath: /var/lib/arauto-console}
{{- end }}
env:
  - {name: ARAUTO_CONFIG, value: /etc/arauto/config/arauto.yaml}
{{- if .root.Values.secrets.broker }}
  - {name: NATS_USER, value: {{ .role }}}
  - name: NATS_PASSWORD
    valueFrom: {secretKeyRef: {name: {{ .root.Values.secrets.broker }}, key: NATS_{{ upper .role }}_PASSWORD}}
{{- end }}
{{- end }}

{{/* Egress of every pod: the broker and names. */}}
{{- define "arauto.egress" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- include "arauto.rule" (dict "direction" "to" "peers" $policy.broker.to "ports" $policy.broker.ports "protocols" (list "TCP")) }}
{{ include "arauto.rule" (dict "direction" "to" "peers" $policy.dns.to "ports" $policy.dns.ports "protocols" (list "UDP" "TCP")) }}
{{- end }}

{{/* One rule of a NetworkPolicy. Without peers it is for every address. */}}
{{- define "arauto.rule" -}}
{{- $protocols := .protocols -}}
- ports:
{{- range $port := .ports }}
{{- range $protocols }}
    - {port: {{ $port }}, protocol: {{ . }}}
{{- end }}
{{- end }}
{{- with .peers }}
  {{ $.direction }}: {{ toYaml . | nindent 4 }}
{{- end }}
{{- end }}
