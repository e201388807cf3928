#!/usr/bin/env python3
"""Collects the notices of what is linked into the program, as one text: release/notices.py OUTPUT TRIPLE...

Most of the libraries ask for their notice to go along with every copy. All such files of each crate are taken as they are in cargo's
registry, those of the C parts inside it too, and equal ones are written once. Rust's own library and glibc, both of them linked in,
come from where the toolchain and Debian keep theirs. Nothing is fetched that a build has not fetched.
"""

import collections
import html
import json
import os
import re
import subprocess
import sys

NOTICE = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)([-_.].*)?$", re.IGNORECASE)
PROGRAM = re.compile(r"\.(rs|py|go|sh|c|h|html|json)$")
# For the two crates under MIT that forgot it.
MIT = """Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software
is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES
OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE
LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR
IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def said(*command):
    """What a command prints."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def read(path):
    """A text, with the ends of lines as they are here."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return "\n".join(line.rstrip() for line in file.read().strip("\ufeff\n").splitlines()) + "\n"


def linked(triple):
    """The crates in the program for a machine, each as name and version; neither macros nor what only builds."""
    tree = said("cargo", "tree", "--locked", "--target", triple, "--edges", "normal,no-proc-macro", "--prefix", "none",
                "--no-dedupe", "--format", "{p}")
    return {tuple(line.replace(" v", " ", 1).split()[:2]) for line in tree.splitlines()}


def notices(folder):
    """The files of a crate that are notices, wherever they are in it."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if NOTICE.match(name) and not PROGRAM.search(name):
                yield read(os.path.join(place, name))


def of_crates(triples):
    """(who, licence, notice) of all crates but our own."""
    names = set.union(*map(linked, triples))
    # Crates of other systems may never have been fetched.
    only = [word for triple in triples for word in ("--filter-platform", triple)]
    for package in json.loads(said("cargo", "metadata", "--locked", "--format-version", "1", *only))["packages"]:
        who = (package["name"], package["version"])
        if who not in names or package["source"] is None:
            continue
        found = list(notices(os.path.dirname(package["manifest_path"])))
        if not found and "Apache-2.0" in package["license"]:
            found = [read("LICENSE")]
        elif not found and package["license"] == "MIT":
            holders = ", ".join(package["authors"]) or f"the authors of {package['name']}"
            found = [f"Copyright (c) {holders}\n\n{MIT}"]
        elif not found:
            sys.exit(f"release/notices.py: {' '.join(who)} ({package['license']}) comes without the text of its licence")
        for notice in found:
            yield " ".join(who), package["license"], notice


def of_rust():
    """The same of Rust's library, from the page that the toolchain brings."""
    docs = os.path.join(said("rustc", "--print", "sysroot").strip(), "share/doc/rust")
    page = read(os.path.join(docs, "COPYRIGHT-library.html"))
    own, others = page.split('<h2 id="out-of-tree-dependencies">')
    holders = sorted(set(re.findall(r"<p><b>Copyright:</b> (.*?)</p>", own)))
    yield "Rust's standard library", "MIT OR Apache-2.0", html.unescape(
        "".join(f"Copyright (c) {holder}\n" for holder in holders) + "\n" + MIT)
    for crate in others.split("<h3>")[1:]:
        name, version = re.match(r"\W*(.*?)</h3>", crate)[1].rsplit("-", 1)
        licence = html.unescape(re.search(r"<b>License:</b> (.*?)</p>", crate)[1])
        for notice in re.findall(r"<pre>\n?(.*?)</pre>", crate, re.DOTALL):
            yield f"{name} {version} (in Rust's standard library)", licence, html.unescape(notice).strip("\n") + "\n"


def of_debian():
    """The same of glibc."""
    for notice in ["/usr/share/doc/libc6-dev/copyright", "/usr/share/common-licenses/LGPL-2.1"]:
        yield "glibc", "LGPL-2.1-or-later and others", read(notice)


def main(output, *triples):
    """Writes it."""
    whose = collections.defaultdict(set)
    for where in (of_crates(triples), of_rust(), of_debian()):
        for who, licence, notice in where:
            whose[notice].add(f"{who}: {licence}")
    rule = "=" * 100 + "\n"
    with open(output, "w", encoding="utf-8") as file:
        file.write("Dockwarden is one static program under the Apache License, Version 2.0. Libraries that are linked into it come under\n"
                   "the licences below. Whoever wants it with another glibc builds it from its source: docs/how-to/release.md.\n")
        for notice, crates in sorted(whose.items(), key=lambda item: (sorted(item[1]), item[0])):
            file.write("\n" + rule + "".join(f"{crate}\n" for crate in sorted(crates)) + rule + "\n" + notice)


main(*sys.argv[1:])
