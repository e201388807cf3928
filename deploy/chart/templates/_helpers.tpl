{{- define "dockwarden.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for `-metrics` after it. */}}
{{- define "dockwarden.fullname" -}}
{{- $name := include "dockwarden.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "dockwarden.selector" -}}
app.kubernetes.io/name: {{ include "dockwarden.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dockwarden.labels" -}}
{{ include "dockwarden.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* What values add to labels or annotations is none of the chart's own. Takes .at, .more and .own. */}}
{{- define "dockwarden.more" -}}
{{- $at := .at -}}
{{- $own := .own -}}
{{- range $key, $_ := .more -}}
  {{- if has $key $own }}{{ fail (printf "%s: the chart writes %s itself; leave it out" $at $key) }}{{ end -}}
{{- end -}}
{{- toYaml .more -}}
{{- end -}}

{{- define "dockwarden.metadata" -}}
name: {{ include "dockwarden.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "dockwarden.labels" . | nindent 2 }}
{{- end -}}

{{- define "dockwarden.image" -}}
{{- $image := .Values.image -}}
{{- if not $image.repository }}{{ fail "image.repository: name the image that you have built and pushed; there is none to pull from elsewhere" }}{{ end -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $image.repository $image.digest }}
{{- else -}}
{{- if not $image.tag }}{{ fail "image.tag: name the tag of your image, or its digest" }}{{ end -}}
{{ printf "%s:%s" $image.repository $image.tag }}
{{- end -}}
{{- end -}}

{{/* The keys of the configuration that hold a secret, each with a key NAME_file beside it. A test compares them with the program's. */}}
{{- define "dockwarden.secretKeys" -}}
authorization bind_password client_secret conn_string password secret
{{- end -}}

{{/*
Everybody who may read the namespace reads a ConfigMap: a secret in it would be known to all of them. What the configuration can say
as a file has to be one. Takes .at and .value.
*/}}
{{- define "dockwarden.nothingSecret" -}}
{{- $at := .at -}}
{{- $keys := splitList " " (include "dockwarden.secretKeys" .) -}}
{{- if kindIs "map" .value -}}
  {{- range $key, $value := .value -}}
    {{- $place := printf "%s.%s" $at $key -}}
    {{- $isText := not (or (kindIs "invalid" $value) (kindIs "map" $value) (kindIs "slice" $value) (eq (toString $value) "")) -}}
    {{- if and (has $key $keys) $isText -}}
      {{- fail (printf "%s: do not put a password or its hash into a ConfigMap; write %s_file: /secrets/NAME, and put NAME into the secret of secrets.existingSecret" $place $key) -}}
    {{- end -}}
    {{- if and (eq $key "secrets") (kindIs "slice" $value) $value -}}
      {{- fail (printf "%s: do not put hashes into a ConfigMap; keep this service in the records, by `dockwarden service`" $place) -}}
    {{- end -}}
    {{- if and (eq $key "uri") $isText (contains "@" (toString $value)) -}}
      {{- fail (printf "%s: do not put a login into a ConfigMap; write addrs, username and password_file in place of the address" $place) -}}
    {{- end -}}
    {{- if and (eq $key "headers") (kindIs "map" $value) -}}
      {{- range $header, $text := $value -}}
        {{- $isMap := or (kindIs "map" $text) (kindIs "invalid" $text) -}}
        {{- /* What is left where the client's own name and password are put in. */ -}}
        {{- $own := regexReplaceAll "\\$\\{[^}]*\\}" (toString $text) "" | trim | lower -}}
        {{- if not (or $isMap (has (lower $header) (list "accept" "user-agent")) (has $own (list "" "basic" "bearer"))) -}}
          {{- fail (printf "%s.%s: do not put a header that may be a secret into a ConfigMap; write {file: /secrets/NAME}, and put NAME into the secret of secrets.existingSecret" $place $header) -}}
        {{- end -}}
      {{- end -}}
    {{- end -}}
    {{- if ne $key "labels" -}}
      {{- include "dockwarden.nothingSecret" (dict "at" $place "value" $value) -}}
    {{- end -}}
  {{- end -}}
{{- else if kindIs "slice" .value -}}
  {{- range $index, $value := .value -}}
    {{- include "dockwarden.nothingSecret" (dict "at" (printf "%s[%d]" $at $index) "value" $value) -}}
  {{- end -}}
{{- else if kindIs "string" .value -}}
  {{- if regexMatch "://[^/?#[:space:]]*@" .value -}}
    {{- fail (printf "%s: do not put a login into a ConfigMap; leave it out of the address, and write a file: password_file: /secrets/NAME, or headers: {Authorization: {file: /secrets/NAME}}" $at) -}}
  {{- end -}}
  {{- if regexMatch "(?i)://.*[?&][a-z_-]*(key|token|secret|password)=[^&$]" .value -}}
    {{- fail (printf "%s: do not put a key into a ConfigMap; write it as a header: {file: /secrets/NAME}, or have whoever is asked take it so" $at) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* The configuration file: what the values say, with the addresses and files of this pod. */}}
{{- define "dockwarden.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- include "dockwarden.nothingSecret" (dict "at" "config" "value" $config) -}}
{{- if hasKey $config "records" }}{{ fail "config.records: say records.kind beside config" }}{{ end -}}
{{- $server := default dict $config.server -}}
{{- range list "addr" "net" "admin_addr" "certificate" "key" -}}
  {{- if hasKey $server . }}{{ fail (printf "config.server.%s: the chart writes it; for TLS, name tls.existingSecret" .) }}{{ end -}}
{{- end -}}
{{- $token := default dict $config.token -}}
{{- range list "certificate" "key" "authority" "generate" -}}
  {{- if hasKey $token . }}{{ fail (printf "config.token.%s: the chart writes it, from the secret of signingKey.existingSecret" .) }}{{ end -}}
{{- end -}}
{{- if not $token.issuer }}{{ fail "config.token.issuer: write what the registry has as REGISTRY_AUTH_TOKEN_ISSUER" }}{{ end -}}
{{- $server = merge (dict "addr" ":5001" "admin_addr" ":5002") $server -}}
{{- if .Values.tls.existingSecret -}}
  {{- $server = merge (dict "certificate" "/tls/tls.crt" "key" "/tls/tls.key") $server -}}
{{- end -}}
{{- $token = merge (dict "certificate" "/tokens/tls.crt" "key" "/tokens/tls.key") $token -}}
{{- if .Values.signingKey.authority -}}
  {{- $_ := set $token "authority" (dict "certificate" "/tokens/ca.crt") -}}
{{- end -}}
{{- $_ := set $config "server" $server -}}
{{- $_ := set $config "token" $token -}}
{{- $records := .Values.records -}}
{{- if eq $records.kind "sqlite" -}}
  {{- if gt (int .Values.replicaCount) 1 }}{{ fail "replicaCount: a file of SQLite is for one instance; set records.kind to postgres for more" }}{{ end -}}
  {{- $_ := set $config "records" (dict "sqlite" "/data/dockwarden.db") -}}
{{- else if eq $records.kind "postgres" -}}
  {{- $postgres := $records.postgres -}}
  {{- if not $postgres.host }}{{ fail "records.postgres.host: name the server" }}{{ end -}}
  {{- if not $postgres.existingSecret }}{{ fail "records.postgres.existingSecret: name the secret that holds the password, as its entry `password`" }}{{ end -}}
  {{- $written := dict "host" $postgres.host "port" $postgres.port "database" $postgres.database "username" $postgres.username "password_file" "/records/password" -}}
  {{- /* YAML reads off as false. */ -}}
  {{- $tls := ternary "off" $postgres.tls (eq (toString $postgres.tls) "false") -}}
  {{- $_ := set $written "tls" $tls -}}
  {{- if and $postgres.ownAuthority (ne $tls "verify-full") }}{{ fail "records.postgres.ownAuthority: it is not looked at without tls: verify-full" }}{{ end -}}
  {{- if and $postgres.clientCertificate (eq $tls "off") }}{{ fail "records.postgres.clientCertificate: it is not shown without TLS; write tls: verify-full" }}{{ end -}}
  {{- if $postgres.ownAuthority }}{{ $_ := set $written "ca_certificate" "/records/ca.crt" }}{{ end -}}
  {{- if $postgres.clientCertificate }}{{ $_ := set (set $written "client_certificate" "/records/tls.crt") "client_key" "/records/tls.key" }}{{ end -}}
  {{- $_ := set $config "records" (dict "postgres" $written) -}}
{{- else -}}
  {{- range list "records_auth" "acl_records" "api" "lasting" "catalogue" "registries" "sign_in" -}}
    {{- if hasKey $config . }}{{ fail (printf "records.kind: config.%s needs records; write sqlite or postgres" .) }}{{ end -}}
  {{- end -}}
  {{- range $index, $entry := $config.workload -}}
    {{- if and (kindIs "map" $entry) (hasKey $entry "single_use") (ne (toString $entry.single_use) "false") -}}
      {{- fail (printf "records.kind: config.workload[%d].single_use needs records; write sqlite or postgres" $index) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Where the pod's files are: the names of their volumes. */}}
{{- define "dockwarden.mounts" -}}
- {name: config, mountPath: /config, readOnly: true}
- {name: tokens, mountPath: /tokens, readOnly: true}
{{- if .Values.secrets.existingSecret }}
- {name: secrets, mountPath: /secrets, readOnly: true}
{{- end }}
{{- if .Values.tls.existingSecret }}
- {name: tls, mountPath: /tls, readOnly: true}
{{- end }}
{{- if eq .Values.records.kind "sqlite" }}
- {name: data, mountPath: /data}
{{- else if eq .Values.records.kind "postgres" }}
- {name: records, mountPath: /records, readOnly: true}
{{- end }}
{{- if .Values.tokenReview.enabled }}
- {name: cluster, mountPath: /cluster, readOnly: true}
{{- end }}
{{- end -}}

{{/* Of both containers: no right, no file to change, and nothing that could give more. */}}
{{- define "dockwarden.container" -}}
image: {{ include "dockwarden.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - {name: RUST_LOG, value: {{ .Values.log | quote }}}
  {{- range $name, $value := .Values.env }}
  {{- if has (last (splitList "__" (lower $name))) (splitList " " (include "dockwarden.secretKeys" $)) }}
  {{- fail (printf "env.%s: everybody who may read the deployment would read it; name a file: %s_FILE: /secrets/NAME" $name $name) }}
  {{- end }}
  - {name: {{ $name | quote }}, value: {{ $value | quote }}}
  {{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  {{- include "dockwarden.mounts" . | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- end -}}
