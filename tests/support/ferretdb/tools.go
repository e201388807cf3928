//go:build tools

// Package ferretdb names the server that speaks MongoDB's protocol in the test bed, and fixes its version.
//
// It cannot be installed by `go install …@version`: it refuses to run without a version file that only its own
// repository makes. `install.sh` copies its sources below `target/`, writes that file and builds it there.
package ferretdb

import _ "github.com/FerretDB/FerretDB/cmd/ferretdb"
