#!/usr/bin/env python3
"""Writes an image for several architectures as one OCI archive: release/image.py OUTPUT VERSION NOTICES ARCHITECTURE=PROGRAM[,BASE]...

It is what the Dockerfile's last stage makes, or the stage `shell` where BASE, a directory, comes below it; with our licence and the
NOTICES of release/notices.py, because it is given away. Docker cannot write an
archive without its engine, and not one with the same bytes twice; nor do buildah and umoci keep a health check in an OCI image. The
dates are SOURCE_DATE_EPOCH.
"""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import time

DATE = int(os.environ["SOURCE_DATE_EPOCH"])
# The commit, where it is known.
REVISION = os.environ.get("DOCKWARDEN_RELEASE_REVISION")
CREATED = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(DATE))
USER = 65532
LICENCE = os.path.join(os.path.dirname(__file__), "..", "LICENSE")
SECOND = 1_000_000_000
# As in the Dockerfile; the tests compare them.
SETTINGS = {
    "User": f"{USER}:{USER}",
    "ExposedPorts": {"5001/tcp": {}},
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    "Entrypoint": ["/dockwarden"],
    "Cmd": ["/config/auth_config.yml"],
    "Healthcheck": {
        "Test": ["CMD", "/dockwarden", "health", "/config/auth_config.yml"],
        "Interval": 10 * SECOND,
        "Timeout": 6 * SECOND,
        "StartPeriod": 10 * SECOND,
        "Retries": 3,
    },
}


def owned_by(user):
    """Gives an entry of a tar file this owner and the date of the release."""

    def change(entry):
        entry.uid = entry.gid = user
        entry.uname = entry.gname = ""
        entry.mtime = DATE
        return entry

    return change


def directory(name, mode=0o755):
    """An empty directory's entry."""
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    entry.mode = mode
    return entry


def base_layer(root):
    """The files below a directory, all of them root's."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(os.listdir(root)):
            tar.add(os.path.join(root, name), arcname=name, filter=owned_by(0))
    return layer.getvalue()


def own_layer(program, notices):
    """The program, its licences, and the places of the volumes. A new named volume takes over their owner."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, user in [("certs", USER), ("config", 0), ("keys", USER), ("licenses", 0)]:
            tar.addfile(owned_by(user)(directory(name)))
        for source, name, mode in [
            (LICENCE, "licenses/LICENSE", 0o644),
            (notices, "licenses/THIRD-PARTY-NOTICES.txt", 0o644),
            (program, "dockwarden", 0o755),
        ]:
            entry = owned_by(0)(tarfile.TarInfo(name))
            entry.mode = mode
            entry.size = os.path.getsize(source)
            with open(source, "rb") as file:
                tar.addfile(entry, file)
    return layer.getvalue()


class Layout:
    """The blobs of an archive."""

    def __init__(self):
        self.blobs = {}

    def put(self, data, media_type, **more):
        """Adds a blob, and gives its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **more}

    def put_json(self, kind, value, **more):
        """The same for a document."""
        return self.put(json.dumps(value, sort_keys=True).encode(), f"application/vnd.oci.image.{kind}+json", **more)

    def write(self, path, index):
        """Writes the archive."""
        files = {f"blobs/sha256/{digest}": data for digest, data in self.blobs.items()}
        files["index.json"] = json.dumps(index, sort_keys=True).encode()
        files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
        with tarfile.open(path, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for name in ["blobs", "blobs/sha256"]:
                tar.addfile(owned_by(0)(directory(name)))
            for name, data in sorted(files.items()):
                entry = owned_by(0)(tarfile.TarInfo(name))
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))


def manifest(layout, version, architecture, layers):
    """Adds an image, and gives its descriptor."""
    packed = [gzip.compress(layer, mtime=0) for layer in layers]
    descriptors = [layout.put(data, "application/vnd.oci.image.layer.v1.tar+gzip") for data in packed]
    licences = "Apache-2.0" if len(layers) == 1 else "Apache-2.0 AND GPL-2.0-only AND MPL-2.0"
    labels = {
        "title": "dockwarden",
        "description": "Authorization server for private container registries",
        "licenses": licences,
        "revision": REVISION,
        "version": version,
    }
    labels = {f"org.opencontainers.image.{name}": value for name, value in labels.items() if value}
    config = {
        "created": CREATED,
        "architecture": architecture,
        "os": "linux",
        "config": {**SETTINGS, "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
        "history": [{"created": CREATED, "created_by": "release/image.py"} for _ in layers],
    }
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.put_json("config.v1", config),
        "layers": descriptors,
    }
    platform = {"architecture": architecture, "os": "linux"}
    return layout.put_json("manifest.v1", document, platform=platform)


def main(output, version, notices, *images):
    """Reads what the command line says."""
    layout = Layout()
    manifests = []
    for image in images:
        architecture, _, parts = image.partition("=")
        program, _, base = parts.partition(",")
        layers = ([base_layer(base)] if base else []) + [own_layer(program, notices)]
        manifests.append(manifest(layout, version, architecture, layers))
    media_type = "application/vnd.oci.image.index.v1+json"
    both = {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}
    # The second image has a name of its own, or whoever loads both has one of them.
    tag = version if not all("," in image for image in images) else f"{version}-shell"
    names = {"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": f"localhost/dockwarden:{tag}"}
    entry = layout.put_json("index.v1", both, annotations=names)
    layout.write(output, {"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]})


main(*sys.argv[1:])
