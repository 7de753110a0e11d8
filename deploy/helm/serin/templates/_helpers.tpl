{{- define "serin.labels" -}}
app.kubernetes.io/name: serin
app.kubernetes.io/part-of: serin
{{- end }}
{{- define "serin.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}
{{- define "serin.rules" -}}
- apiGroups: [serin.dev]
  resources: [canarypolicies]
  verbs: [get, list, watch]
- apiGroups: [serin.dev]
  resources: [canarydefaults]
  verbs: [list, watch]
- apiGroups: [serin.dev]
  resources: [canarypolicies/status]
  verbs: [update]
- apiGroups: [networking.istio.io]
  resources: [virtualservices]
  verbs: [get, list, watch, patch]
- apiGroups: [networking.istio.io]
  resources: [destinationrules]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [services, pods]
  verbs: [list, watch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch{{ if .Values.reserve }}, get, patch{{ end }}]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
