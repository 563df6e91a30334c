#!/usr/bin/env python3
"""Checks what can be checked about the documentation:

* docs/dependencies.md has a line for each crate from elsewhere that a crate of ours names, and no other;
* links between pages, and paths of this repository in `code`, lead somewhere;
* the list of unsafe code is current (scripts/list_unsafe.py).
"""

import re

import check_layers
import list_unsafe
from environment import PROJECT, main

DEPENDENCIES = PROJECT / "docs" / "dependencies.md"
LINE = re.compile(r"^\| `([^`]+)` \|", re.M)
LINK = re.compile(r"\[[^\]]*\]\(([^)#:]+)(?:#[^)]*)?\)")
# A path in code: at least one slash, and a suffix or a folder's slash at the end.
PATH = re.compile(r"`((?:[\w.-]+/)+(?:[\w-]+\.(?:rs|py|sh|md|toml|ld|c|S|yml|json)|(?=`)))`")
# What a build or a run makes.
MADE = ("target/", ".cache/", "docs/acceptance.md")


def pages():
    """Every page for people."""
    return [PROJECT / "README.md", PROJECT / "CHANGELOG.md", *sorted((PROJECT / "docs").glob("*.md"))]


def dependencies(packages):
    """Crates from elsewhere that our crates name, in any section of their manifests."""
    return {entry["name"] for package in packages for entry in package["dependencies"] if "path" not in entry}


def complaints(packages):
    """One sentence for each thing that is wrong."""
    found = []
    wanted, listed = dependencies(packages), set(LINE.findall(DEPENDENCIES.read_text()))
    found += [f"docs/dependencies.md has no line for {name}" for name in sorted(wanted - listed)]
    found += [f"docs/dependencies.md has a line for {name}, which no crate names" for name in sorted(listed - wanted)]
    for page in pages():
        text = page.read_text()
        for target in LINK.findall(text):
            if not (page.parent / target).exists():
                found.append(f"{page.relative_to(PROJECT)}: the link to {target} leads nowhere")
        for path in PATH.findall(text):
            if not path.startswith(MADE) and not exists(path):
                found.append(f"{page.relative_to(PROJECT)}: there is no {path}")
    unsafe = list_unsafe.PAGE.read_text()
    if unsafe != list_unsafe.current(unsafe):
        found.append("docs/unsafe.md is not current: run scripts/list_unsafe.py --write")
    return found


def exists(path):
    """Whether a path is there, from the root or inside some crate's sources."""
    return (PROJECT / path).exists() or any(PROJECT.glob(f"*/src/{path}")) or any(PROJECT.glob(f"*/{path}"))


def _main():
    found = complaints(check_layers.workspace_packages())
    print("\n".join(found) or "the documentation fits the sources")
    return 1 if found else 0


if __name__ == "__main__":
    main(_main)
