#!/usr/bin/env python3
"""Keeps the list of unsafe code in docs/unsafe.md current.

    list_unsafe.py            check; fails if the list is not what the sources say
    list_unsafe.py --write    write it

Counted are blocks, functions, implementations and foreign declarations, in every crate's sources, tests aside.
"""

import argparse
import pathlib
import re

import check_layers
from environment import PROJECT, Failure, main

PAGE = PROJECT / "docs" / "unsafe.md"
BEGIN, END = "<!-- list: begin -->", "<!-- list: end -->"
HEADER = ["| file | blocks | functions | implementations | foreign |", "|---|---|---|---|---|"]

# Comments, strings and characters, which may contain the word.
NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|r(#*)".*?"\1|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])\'', re.S)
KINDS = [
    re.compile(r"\bunsafe\s*\{"),
    re.compile(r"\bunsafe\s+(?:extern\s+\"\"\s+)?fn\b"),
    re.compile(r"\bunsafe\s+impl\b"),
    re.compile(r"\bunsafe\s+extern\s+\"\"\s*\{"),
]


def sources(folder):
    """The sources of a crate, without those that only tests have."""
    return [path for path in sorted((folder / "src").rglob("*.rs"))
            if "tests" not in path.relative_to(folder).parts and path.stem not in ("tests", "test_support")]


def count(text):
    """How many of each kind are in a source."""
    text = NOISE.sub(lambda match: '""' if match[0].startswith(('"', "r")) else "", text)
    text = text.split("#[cfg(test)]\nmod tests {")[0]
    return [len(kind.findall(text)) for kind in KINDS]


def listing():
    """The lines of the list."""
    lines, totals = list(HEADER), [0] * len(KINDS)
    folders = sorted(pathlib.Path(package["manifest_path"]).parent for package in check_layers.workspace_packages())
    for folder in folders:
        for path in sources(folder):
            numbers = count(path.read_text())
            if any(numbers):
                shown = " | ".join(str(number or "") for number in numbers)
                lines.append(f"| `{path.relative_to(PROJECT)}` | {shown} |")
                totals = [total + number for total, number in zip(totals, numbers)]
    return lines + ["| all | " + " | ".join(map(str, totals)) + " |"]


def current(page):
    """The page with the list as the sources have it."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + "\n\n" + "\n".join(listing()) + "\n\n" + END + after


def _main():
    parser = argparse.ArgumentParser(description="Check or write the list of unsafe code.")
    parser.add_argument("--write", action="store_true", help="write the list instead of checking it")
    options = parser.parse_args()
    page = PAGE.read_text()
    wanted = current(page)
    if options.write:
        PAGE.write_text(wanted)
    elif page != wanted:
        raise Failure("docs/unsafe.md is not current: run scripts/list_unsafe.py --write")
    return 0


if __name__ == "__main__":
    main(_main)
