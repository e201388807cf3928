#!/usr/bin/env python3
"""Adds to the list that cargo-cyclonedx writes what cargo does not know of: release/sbom.py FILE [--shell]

glibc is linked into the program; with --shell, busybox stands below it in the second image. The serial number comes from the contents,
so that the same contents have the same bytes.
"""

import json
import re
import subprocess
import sys
import uuid


def first_line(*command):
    """What a command says first."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]


def component(name, version, licence, text):
    """One of them."""
    return {
        "type": "library" if name == "glibc" else "application",
        "bom-ref": f"pkg:generic/{name}@{version}",
        "name": name,
        "version": version,
        "description": text,
        "licenses": [{"license": {"id": licence}}],
        "purl": f"pkg:generic/{name}@{version}",
    }


def main(file, *options):
    """Reads what the command line says."""
    with open(file, encoding="utf-8") as opened:
        bom = json.load(opened)
    # "glibc 2.36"
    glibc = first_line("getconf", "GNU_LIBC_VERSION").split()[1]
    more = [component("glibc", glibc, "LGPL-2.1-or-later", "The C library, linked statically into the program")]
    if "--shell" in options:
        # "BusyBox v1.35.0 (Debian 1:1.35.0-4+b7) multi-call binary."
        busybox = re.match(r"BusyBox v(\S+)", first_line("busybox"))[1]
        more.append(component("busybox", busybox, "GPL-2.0-only", "Only in the image with a shell"))
    own = bom["metadata"]["component"]["bom-ref"]
    bom["components"] = bom.get("components", []) + more
    for entry in bom.get("dependencies", []):
        if entry["ref"] == own:
            entry["dependsOn"] = entry.get("dependsOn", []) + [more[0]["bom-ref"]]
    bom.pop("serialNumber", None)
    contents = json.dumps(bom, sort_keys=True)
    bom["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, contents)}"
    with open(file, "w", encoding="utf-8") as opened:
        json.dump(bom, opened, indent=2)
        opened.write("\n")


main(*sys.argv[1:])
