//go:build tools

// Package tools names what is built of this module beside its own folder: Kubernetes' API server.
package tools

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
