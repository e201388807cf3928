#!/bin/sh
# Puts every real part that `tests/real` starts on this machine: Debian packages, Go programs, and our own Go checkers.
#
# Quick and silent when all is there; run it as often as you like. What is missing is installed; what cannot be
# installed ends the script with status 1 and a line that names it, because a part that is silently absent would turn
# into a test that silently does not run.
#
# With the word `long`, it also puts there what only `make long` starts, below `long` in that directory: too much to build for each
# new machine.
#
# DOCKWARDEN_TOOLS: directory for the Go programs (default: target/tools/bin of this repository). The tests read the
# same variable.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
tools=${DOCKWARDEN_TOOLS:-$repository/target/tools/bin}

# Oldest Go that builds the programs below (the registry's own go.mod asks for it).
oldest_go_minor=25

fail() {
    echo "tests/support/install.sh: $*" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# command:package, as Debian names them.
packages=
# Those that make a release for the other machine, a Debian to install it in, and a browser.
release=
[ "${1:-}" != long ] || release='aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu aarch64-linux-gnu-g++:g++-aarch64-linux-gnu
    qemu-aarch64-static:qemu-user-static mmdebstrap:mmdebstrap chromium:chromium pngquant:pngquant node:nodejs npm:npm'
for pair in $release \
    dockerd:docker.io docker:docker.io docker-registry:docker-registry docker-compose:docker-compose \
    containerd:containerd ctr:containerd podman:podman buildah:buildah skopeo:skopeo \
    slapd:slapd slappasswd:slapd ldapmodify:ldap-utils caddy:caddy faketime:faketime \
    busybox:busybox-static htpasswd:apache2-utils nginx:nginx curl:curl openssl:openssl \
    lintian:lintian mandoc:mandoc redis-cli:redis-tools \
    systemd-analyze:systemd setpriv:util-linux unshare:util-linux nsenter:util-linux ip:iproute2 iptables:iptables timeout:coreutils tar:tar python3:python3
do
    has "${pair%%:*}" && continue
    case "$packages " in
        *" ${pair##*:} "*) ;;
        *) packages="$packages ${pair##*:}" ;;
    esac
done
# Debian keeps PostgreSQL's programs where no path leads.
if ! has postgres && ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then packages="$packages postgresql"; fi
# The packages that hold the programs alone: they make no user, and start no server.
for pair in mariadbd:mariadb-server-core mariadb-install-db:mariadb-server-core my_print_defaults:mariadb-client-core; do
    has "${pair%%:*}" || [ -x "/usr/sbin/${pair%%:*}" ] || packages="$packages ${pair##*:}"
done
if ! has go; then packages="$packages golang-go"; fi
# Debian keeps apart what makes an environment for Python packages.
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then packages="$packages python3-venv"; fi

if [ -n "$packages" ]; then
    has apt-get || fail "these packages are missing and there is no apt-get to install them with:$packages"
    as_root=
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || fail "only root can install packages; as root: apt-get install$packages"
        as_root='sudo -n'
    fi
    case $packages in
        *slapd*)
            # Without a configuration the package starts no server of its own: the tests start theirs.
            echo 'slapd slapd/no_configuration boolean true' | $as_root debconf-set-selections ||
                fail "debconf-set-selections could not be told that slapd is to have no configuration"
            ;;
    esac
    case $packages in
        *postgresql*)
            # Nor does this package make a server of its own then.
            $as_root mkdir -p /etc/postgresql-common
            [ -e /etc/postgresql-common/createcluster.conf ] ||
                echo 'create_main_cluster = false' | $as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
            ;;
    esac
    log=$(mktemp)
    # shellcheck disable=SC2086 # one word a package, and no word or two before them
    if ! { $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages; } >"$log" 2>&1
    then
        tail -n 20 "$log" >&2
        rm -f "$log"
        fail "apt-get could not install:$packages"
    fi
    rm -f "$log"
fi

minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
# From 1.21 on, go fetches the newer toolchain that a module asks for, unless it is told to stay local.
if [ "${minor:-0}" -lt "$oldest_go_minor" ] && { [ "${minor:-0}" -lt 21 ] || [ "$(go env GOTOOLCHAIN)" = local ]; }; then
    fail "$(go version) is too old: install Go 1.$oldest_go_minor or newer"
fi

mkdir -p "$tools"

# Of Debian's Prometheus only the program that tests alerts: the package would start a server.
if ! has promtool && [ ! -x "$tools/promtool" ]; then
    has apt-get || fail "promtool is missing and there is no apt-get to fetch it with"
    log=$(mktemp)
    build=$(mktemp -d)
    as_root=
    [ "$(id -u)" = 0 ] || as_root='sudo -n'
    # Where nothing else was missing, nobody has asked yet what packages there are.
    if ! ($as_root apt-get update -q && cd "$build" && apt-get download -q prometheus && dpkg-deb --fsys-tarfile ./*.deb | tar x ./usr/bin/promtool &&
        mv usr/bin/promtool "$tools/promtool") >"$log" 2>&1
    then
        tail -n 20 "$log" >&2
        rm -rf "$log" "$build"
        fail "could not fetch promtool from Debian's package prometheus"
    fi
    rm -rf "$log" "$build"
fi

# Installs programs into a folder. Each line is: program module package version. The versions are fixed so that a red test means our
# change, not theirs.
install_go() {
    while read -r program module package version; do
        case "$(go version -m "$1/$program" 2>/dev/null | awk '$1 == "mod" { print $2 "@" $3 }')" in
            "$module@$version") continue ;;
        esac
        echo "building $program $version (once; takes minutes)" >&2
        log=$(mktemp)
        if ! GOBIN=$1 go install "$module/$package@$version" >"$log" 2>&1; then
            grep -v '^go: downloading' "$log" | tail -n 20 >&2
            rm -f "$log"
            fail "could not build $program: go install $module/$package@$version"
        fi
        rm -f "$log"
    done
}
install_go "$tools" <<'PROGRAMS'
registry github.com/distribution/distribution/v3 cmd/registry v3.1.1
crane github.com/google/go-containerregistry cmd/crane v0.22.1
helm helm.sh/helm/v3 cmd/helm v3.22.0
oras oras.land/oras cmd/oras v1.3.6
pebble github.com/letsencrypt/pebble/v2 cmd/pebble v2.10.3
pebble-challtestsrv github.com/letsencrypt/pebble/v2 cmd/pebble-challtestsrv v2.10.3
regctl github.com/regclient/regclient cmd/regctl v0.11.7
PROGRAMS

# FerretDB speaks MongoDB's protocol. Its program wants a version file inside its sources, so it is built from a copy of
# them; see tests/support/ferretdb/tools.go.
ferretdb=github.com/FerretDB/FerretDB
ferretdb_version=v1.24.2
case "$(go version -m "$tools/ferretdb" 2>/dev/null | awk '$1 == "mod" { print $2 "@" $3 }')" in
    "$ferretdb@$ferretdb_version") ;;
    *)
        echo "building ferretdb $ferretdb_version (once; takes minutes)" >&2
        build=$tools/../ferretdb-build
        log=$(mktemp)
        rm -rf "$build"
        mkdir -p "$build"
        cp "$here"/ferretdb/* "$build"
        if ! (cd "$build" && go mod vendor &&
            printf %s "$ferretdb_version" >"vendor/$ferretdb/build/version/version.txt" &&
            go build -mod=vendor -o "$tools/ferretdb" "$ferretdb/cmd/ferretdb") >"$log" 2>&1
        then
            grep -v '^go: downloading' "$log" | tail -n 20 >&2
            rm -f "$log"
            fail "could not build ferretdb $ferretdb_version in $build"
        fi
        rm -rf "$build" "$log"
        ;;
esac

# Our own checkers: what docker_auth's patterns match (oracle), what docs/reference/rules.md says of a question (rules), and the
# registry's view of a token (verify).
for source in "$here"/go/*/; do
    [ -e "$source" ] || continue
    name=$(basename "$source")
    (cd "$here/go" && go build -trimpath -o "$tools/$name" "./$name") || fail "could not build $source"
done

# Redis: the package of its tools has the server's program by another name, makes no user, and starts no server.
has redis-server || ln -sf "$(command -v redis-check-rdb)" "$tools/redis-server" || fail "Debian's redis-tools has no redis-check-rdb"

# docker_auth's token databases, filled by the libraries that docker_auth uses.
(cd "$here/tokendb" && go build -trimpath -o "$tools/tokendb" .) || fail "could not build $here/tokendb"

# Casbin for Go, as docker_auth uses it: a module of its own, since only it needs anything from others.
(cd "$here/casbin" && go build -trimpath -o "$tools/casbin" .) || fail "could not build $here/casbin"

# Kubernetes' strict decoder, with what it needs of client-go: for deploy/chart.
(cd "$here/manifests" && go build -trimpath -o "$tools/manifests" .) || fail "could not build $here/manifests"

# Programs from PyPI, each among packages of its own: moto answers in the place of AWS's API, sslyze grades our TLS, schemathesis asks our
# API by its description.
# distribution version extras program
while read -r distribution version extras program; do
    venv=$tools/../$distribution
    if [ "$("$venv/bin/pip" list --format freeze 2>/dev/null | sed -n "s/^$distribution==//p")" != "$version" ]; then
        echo "installing $distribution $version (once; may take minutes)" >&2
        log=$(mktemp)
        rm -rf "$venv"
        if ! (python3 -m venv "$venv" && "$venv/bin/pip" install "$distribution$extras==$version") >"$log" 2>&1 </dev/null; then
            tail -n 20 "$log" >&2
            rm -f "$log"
            fail "could not install $distribution $version from PyPI"
        fi
        rm -f "$log"
    fi
    ln -sf "$(cd "$venv" && pwd)/bin/$program" "$tools/$program"
done <<'END'
moto 5.2.5 [server,ecr] moto_server
schemathesis 4.32.5 [] schemathesis
sslyze 6.3.1 [] sslyze
END

# Makes the Debian package.
if ! cargo deb --version >/dev/null 2>&1; then
    echo "building cargo-deb (once; takes minutes)" >&2
    cargo install --quiet --locked cargo-deb || fail "could not build cargo-deb"
fi

[ "${1:-}" = long ] || exit 0

long=$tools/long
mkdir -p "$long"
# None of them needs what C libraries there are here.
(
    export CGO_ENABLED=0 GOFLAGS=-tags=no_btrfs,exclude_graphdriver_btrfs
    install_go "$long" <<'PROGRAMS'
buildx github.com/docker/buildx cmd/buildx v0.38.2
containerd github.com/containerd/containerd/v2 cmd/containerd v2.4.2
cosign github.com/sigstore/cosign/v3 cmd/cosign v3.1.3
dockerd github.com/moby/moby/v2 cmd/dockerd v2.0.0-beta.24
PROGRAMS
)

# An OIDC provider, and the kubelet's own code that starts credential provider plugins: modules of their own.
(cd "$here/dex" && go build -trimpath -o "$long/dex" github.com/dexidp/dex/cmd/dex) || fail "could not build $here/dex"
(cd "$here/kubelet" && go build -trimpath -o "$long/kubelet" .) || fail "could not build $here/kubelet"

# A cluster's API, for what the chart writes: etcd, Kubernetes' API server (a quarter of an hour), and the kind of object that Prometheus'
# operator brings along.
version=$(sed -n 's/^\tk8s.io\/kubernetes v//p' "$here/apiserver/go.mod")
say=k8s.io/component-base/version
(cd "$here/apiserver" && go build -trimpath -o "$long/etcd" ./etcd &&
    # Helm asks it for its version.
    go build -trimpath -ldflags "-X $say.gitVersion=v$version -X $say.gitMajor=1 -X $say.gitMinor=$(echo "$version" | cut -d. -f2)" \
        -o "$long/kube-apiserver" k8s.io/kubernetes/cmd/kube-apiserver) || fail "could not build $here/apiserver"
operator=$(cd "$here/apiserver" && go mod download -json github.com/prometheus-operator/prometheus-operator@v0.92.1 | sed -n 's/.*"Dir": "\(.*\)",/\1/p')
install -m 644 "$operator/example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml" "$long/servicemonitors.yaml" ||
    fail "could not fetch the definition of ServiceMonitor"

# OpenTelemetry's Collector, for the spans and metrics that we send.
(cd "$here/collector" && go build -trimpath -o "$long/collector" .) || fail "could not build $here/collector"

# Gitea, which has GitHub's paths and is an OpenID provider. What its module puts in place of others counts only where it is the main one:
# so it is built in its own folder. What it reads while it runs lies beside it.
gitea_version=v1.26.4
if [ "$(cat "$long/gitea-files/version" 2>/dev/null)" != "$gitea_version" ] || [ ! -x "$long/gitea" ]; then
    echo "building gitea $gitea_version (once; takes minutes)" >&2
    log=$(mktemp)
    sources=$(cd "$(mktemp -d)" && go mod download -json "code.gitea.io/gitea@$gitea_version" | sed -n 's/.*"Dir": "\(.*\)",/\1/p')
    if ! (cd "$sources" && go build -trimpath -tags 'sqlite sqlite_unlock_notify' -o "$(cd "$long" && pwd)/gitea" .) >"$log" 2>&1; then
        grep -v '^go: downloading' "$log" | tail -n 20 >&2
        rm -f "$log"
        fail "could not build gitea $gitea_version"
    fi
    rm -rf "$log" "$long/gitea-files"
    mkdir -p "$long/gitea-files"
    cp -r --no-preserve=mode "$sources/templates" "$sources/options" "$sources/public" "$long/gitea-files"
    echo "$gitea_version" >"$long/gitea-files/version"
fi

# What drives a browser, what finds obstacles on a page, and a strict OpenID provider, from npm.
node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' ||
    fail "$(node --version) is too old: install Node.js 20 or newer"
if ! cmp -s "$here/browser/package-lock.json" "$long/browser/installed.json"; then
    mkdir -p "$long/browser"
    cp "$here/browser/package.json" "$here/browser/package-lock.json" "$long/browser"
    log=$(mktemp)
    if ! (cd "$long/browser" && npm ci --ignore-scripts --no-audit --no-fund) >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        fail "could not install what $here/browser/package-lock.json names"
    fi
    rm -f "$log"
    cp "$here/browser/package-lock.json" "$long/browser/installed.json"
fi
