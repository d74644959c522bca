{{- define "kubeweir.labels" -}}
app.kubernetes.io/name: kubeweir
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "kubeweir.image" -}}
{{- $tag := default (printf "v%s" .Chart.AppVersion) .Values.image.tag -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end }}

{{- define "kubeweir.mode" -}}
{{- if not (has .Values.mode (list "nftables" "ipvs")) -}}
{{- fail (printf "mode: %s is neither nftables nor ipvs" (.Values.mode | default "" | quote)) -}}
{{- end -}}
{{- .Values.mode -}}
{{- end }}

{{- define "kubeweir.kubeconfig" -}}
{{- $host := required "apiServer.host: an address of the API server that needs no Service proxy" .Values.apiServer.host -}}
apiVersion: v1
kind: Config
clusters:
- name: cluster
  cluster:
    server: https://{{ $host }}:{{ .Values.apiServer.port }}
    certificate-authority: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
users:
- name: kubeweir
  user:
    # Of the ServiceAccount. The kubelet renews it, and it is read again then.
    tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
contexts:
- name: kubeweir
  context:
    cluster: cluster
    user: kubeweir
current-context: kubeweir
{{- end }}

{{- /* Both containers read the same configuration, so that what the first prepares is what the second wants. */ -}}
{{- define "kubeweir.container" -}}
image: {{ include "kubeweir.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
- name: config
  mountPath: /var/lib/kube-proxy
  readOnly: true
args:
- --config=/var/lib/kube-proxy/config.conf
- --hostname-override=$(NODE_NAME)
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}
