// Command etcd is etcd's own server, whose main package is in a module that nothing can depend on.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
