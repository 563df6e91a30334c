"""Reads the recipes of disk images, rootfs/images/NAME/recipe.

One statement a line; `#` begins a comment. Paths are absolute inside the image, sources lie in the
recipe's folder. What a recipe says replaces what a package brings, and a later line an earlier one.

    include NAME                           all that another recipe says
    size 128M                              of the file system
    package NAME ...                       with all that it depends on
    remove PATTERN                         files of packages that are left out
    dir PATH MODE [USER GROUP]
    file PATH MODE SOURCE                  a file of the recipe's folder
    copy PATH MODE PATTERN                 the content of the packages' files that match, joined in their order
    slink PATH TARGET
    node PATH MODE c|b MAJOR MINOR
    own PATH MODE USER GROUP               other attributes for what a package brings
    group NAME NUMBER
    user NAME NUMBER GROUP HOME SHELL      a line of /etc/passwd after those of Debian's own list
    applets SOURCE PROGRAM                 links to PROGRAM, for the names in SOURCE that no package has
"""

import dataclasses
import shlex

from environment import PROJECT, Failure

FOLDER = PROJECT / "rootfs" / "images"


@dataclasses.dataclass(frozen=True)
class Attributes:
    """Who may do what with a file."""

    mode: int
    user: str = "root"
    group: str = "root"


@dataclasses.dataclass(frozen=True)
class Made:
    """Something that a recipe puts at a path."""

    kind: str  # dir | file | copy | slink | node
    attributes: Attributes
    data: bytes = b""
    target: str = ""  # of a link; the pattern of a copy
    device: tuple = ()


@dataclasses.dataclass
class Recipe:
    """All that a recipe and those it includes say."""

    name: str
    size_bytes: int = 0
    packages: list = dataclasses.field(default_factory=list)
    removed: list = dataclasses.field(default_factory=list)
    made: dict = dataclasses.field(default_factory=dict)
    owned: dict = dataclasses.field(default_factory=dict)
    groups: dict = dataclasses.field(default_factory=dict)
    users: dict = dataclasses.field(default_factory=dict)
    applets: list = dataclasses.field(default_factory=list)  # (name, program)


def read(name):
    """The recipe of that name."""
    recipe = Recipe(name)
    _read_folder(recipe, name)
    if not recipe.size_bytes:
        raise Failure(f"the recipe {name} says no size")
    return recipe


def names():
    """The recipes that there are."""
    return sorted(path.parent.name for path in FOLDER.glob("*/recipe"))


def _read_folder(recipe, name):
    folder = FOLDER / name
    path = folder / "recipe"
    if not path.exists():
        raise Failure(f"there is no recipe {name}; there are: {', '.join(names())}")
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        words = shlex.split(line, comments=True)
        if not words:
            continue
        try:
            _read_line(recipe, folder, words)
        except (ValueError, FileNotFoundError) as error:
            raise Failure(f"{path.relative_to(PROJECT)}:{number}: not understood: {line.strip()} ({error})") from error


def _read_line(recipe, folder, words):
    match words:
        case ["include", name]:
            _read_folder(recipe, name)
        case ["size", size]:
            recipe.size_bytes = int(size[:-1]) << {"M": 20, "G": 30}[size[-1]]
        case ["package", *names_of_packages]:
            recipe.packages += [name for name in names_of_packages if name not in recipe.packages]
        case ["remove", pattern]:
            recipe.removed.append(_absolute(pattern))
        case ["dir", path, mode]:
            _make(recipe, path, Made("dir", Attributes(int(mode, 8))))
        case ["dir", path, mode, user, group]:
            _make(recipe, path, Made("dir", Attributes(int(mode, 8), user, group)))
        case ["file", path, mode, source]:
            _make(recipe, path, Made("file", Attributes(int(mode, 8)), (folder / source).read_bytes()))
        case ["copy", path, mode, pattern]:
            _make(recipe, path, Made("copy", Attributes(int(mode, 8)), target=_absolute(pattern)))
        case ["slink", path, target]:
            _make(recipe, path, Made("slink", Attributes(0o777), target=target))
        case ["node", path, mode, ("c" | "b") as kind, major, minor]:
            _make(recipe, path, Made("node", Attributes(int(mode, 8)), device=(kind, int(major), int(minor))))
        case ["own", path, mode, user, group]:
            recipe.owned[_absolute(path)] = Attributes(int(mode, 8), user, group)
        case ["group", name, number]:
            recipe.groups[name] = int(number)
        case ["user", name, number, group, home, shell]:
            recipe.users[name] = (int(number), group, home, shell)
        case ["applets", source, program]:
            for path in (folder / source).read_text().split():
                recipe.applets.append(("/usr/" + path.removeprefix("usr/"), program))
        case _:
            raise ValueError("unknown kind of line")


def _absolute(path):
    if not path.startswith("/"):
        raise ValueError(f"{path} is not an absolute path")
    return path


def _make(recipe, path, made):
    recipe.made[_absolute(path)] = made
