{{- define "tidegate.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "tidegate.controlplane" -}}
{{ include "tidegate.name" . }}-controlplane
{{- end }}

{{- define "tidegate.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "tidegate.controlplane" .) }}
{{- end }}

{{/* Names of objects without a namespace are shared by all releases. */}}
{{- define "tidegate.clusterName" -}}
{{- if has .Release.Namespace (list (include "tidegate.name" .) (printf "%s-system" (include "tidegate.name" .))) -}}
{{ include "tidegate.name" . }}
{{- else -}}
{{ include "tidegate.name" . }}-{{ .Release.Namespace }}
{{- end }}
{{- end }}

{{- define "tidegate.image" -}}
{{ with .Values.image.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "tidegate.selector" -}}
app.kubernetes.io/name: tidegate-controlplane
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controlplane
{{- end }}

{{- define "tidegate.labels" -}}
{{ include "tidegate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: tidegate
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "tidegate.gateway" -}}
{{ .Values.gateway.name | default (include "tidegate.name" .) }}
{{- end }}

{{- define "tidegate.gateway.secret" -}}
{{ .Values.gateway.certificate.secretName | default (printf "%s-certificate" (include "tidegate.gateway" .)) }}
{{- end }}

{{/* What the control plane calls the Service of the first Gateway. */}}
{{- define "tidegate.gateway.service" -}}
{{ include "tidegate.gateway" . }}-{{ .Values.gatewayClass.name }}
{{- end }}
