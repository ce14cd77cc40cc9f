{{- define "forebay.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The name whose addresses are those of the ready nodes. */}}
{{- define "forebay.peers" -}}
{{- printf "%s-peers.%s.svc" (include "forebay.fullname" .) .Release.Namespace -}}
{{- end -}}

{{- define "forebay.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "forebay.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "forebay.selectorLabels" . }}
app.kubernetes.io/component: {{ .Values.role }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "forebay.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "forebay.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Nodes that there are names for: refuses more. */}}
{{- define "forebay.nodesMax" -}}
{{- $most := int .Values.replicas -}}
{{- if .Values.autoscaling.enabled -}}
{{- $most = int .Values.autoscaling.maxReplicas -}}
{{- if gt (int .Values.autoscaling.minReplicas) $most -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- end -}}
{{- if gt $most (int .Values.nodesMax) -}}
{{- fail (printf "%d nodes are more than nodesMax: raise it, or have fewer" $most) -}}
{{- end -}}
{{- int .Values.nodesMax -}}
{{- end -}}

{{/* The configuration, but for the node's name, which stands at its end. */}}
{{- define "forebay.config" -}}
{{- if not (or .Values.viewers.http.enabled .Values.viewers.https.enabled) -}}
{{- fail "viewers.http or viewers.https has to be enabled" -}}
{{- end -}}
[server]
{{- if .Values.viewers.http.enabled }}
http = ["{{ .Values.listenAddress }}:{{ int .Values.viewers.http.port }}"]
{{- end }}
{{- if .Values.viewers.https.enabled }}
https = [{ listen = "{{ .Values.listenAddress }}:{{ int .Values.viewers.https.port }}", cert = "/etc/forebay/tls/tls.crt", key = "/etc/forebay/tls/tls.key" }]
{{- end }}
admin = "{{ .Values.listenAddress }}:{{ int .Values.admin.port }}"
admin_token_file = "/etc/forebay/admin/{{ .Values.admin.tokenSecret.key }}"
{{- if .Values.viewers.healthPath }}
health_path = {{ .Values.viewers.healthPath | quote }}
{{- end }}
{{- with .Values.viewers.proxyProtocol }}
{{- if .from }}
proxy_protocol = { from = {{ .from | toJson }}, required = {{ .required }} }
{{- end }}
{{- end }}
drain_delay = "{{ int .Values.drain.delaySeconds }}s"
drain_timeout = "{{ int .Values.drain.timeoutSeconds }}s"
{{- with .Values.viewers.extra }}
{{ tpl . $ | trim }}
{{- end }}

[store]
memory = {{ .Values.cache.memory | quote }}
{{- if ne .Values.cache.disk.type "none" }}
disk = [{ path = "/var/lib/forebay", size = {{ .Values.cache.disk.size | quote }} }]
{{- end }}
{{- with .Values.cache.extra }}
{{ tpl . $ | trim }}
{{- end }}

{{ tpl .Values.config . | trim }}

[fleet]
{{- with .Values.fleet.bus }}
bus = {{ . | quote }}
{{- end }}
{{- if and .Values.fleet.bus .Values.fleet.passwordSecret.name }}
password_file = "/etc/forebay/redis/{{ .Values.fleet.passwordSecret.key }}"
{{- end }}
{{- if and .Values.fleet.bus (ne .Values.cache.disk.type "none") }}
state = "/var/lib/forebay/fleet"
{{- end }}
{{- with .Values.fleet.keys }}
keys = [
{{- range . }}
  { id = {{ .id | quote }}, secret_file = "/etc/forebay/fleet/{{ .id }}/{{ .secretKey }}" },
{{- end }}
]
{{- end }}
{{- if .Values.fleet.peers }}
{{- if not .Values.fleet.keys }}
{{- fail "fleet.peers needs fleet.keys: nodes know each other by what they sign" }}
{{- end }}
{{- if not .Values.viewers.http.enabled }}
{{- fail "fleet.peers needs viewers.http: nodes ask each other there" }}
{{- end }}
peers = "dns://{{ include "forebay.peers" . }}:{{ int .Values.viewers.http.port }}"
{{- end }}
{{- with .Values.fleet.extra }}
{{ tpl . $ | trim }}
{{- end }}
{{- end -}}
