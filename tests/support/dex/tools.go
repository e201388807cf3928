//go:build tools

// Package dex names the OIDC provider of the test bed, and fixes its version: the newest that the module's path allows, since
// its releases are numbered as if there were none.
package dex

import _ "github.com/dexidp/dex/cmd/dex"
