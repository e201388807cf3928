module dockwarden.test/casbin

go 1.25

// The version of docker_auth.
require github.com/casbin/casbin/v2 v2.55.1

require github.com/Knetic/govaluate v3.0.1-0.20171022003610-9aa49832a739+incompatible // indirect
