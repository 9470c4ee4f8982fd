{{- /* Replicas of a processor: none are told where a scaler decides. */ -}}
{{- define "headwater.replicas" -}}
{{- $values := (index . 0).Values -}}
{{- if or $values.keda.enabled $values.hpa.enabled }}null{{ else }}{{ index $values.processors.replicas (index . 1) }}{{ end -}}
{{- end -}}
