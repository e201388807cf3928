module dockwarden.test/tokendb

go 1.25

// The versions of docker_auth.
require (
	github.com/go-redis/redis v6.15.9+incompatible
	github.com/syndtr/goleveldb v1.0.0
	golang.org/x/crypto v0.45.0
)

require github.com/golang/snappy v0.0.0-20180518054509-2e65f85255db // indirect
