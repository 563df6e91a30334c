"""Turns the compiler's symbol names into paths that a person reads in a backtrace.

Both of Rust's schemes are understood. The result is made to be short: crate hashes, generic
arguments and lifetimes are left out, and of a trait only the last word is kept. What is not
understood is returned as it is.
"""

import re

BASIC_TYPES = {
    "a": "i8", "b": "bool", "c": "char", "d": "f64", "e": "str", "f": "f32", "h": "u8", "i": "isize", "j": "usize",
    "l": "i32", "m": "u32", "n": "i128", "o": "u128", "s": "i16", "t": "u16", "u": "()", "v": "...", "x": "i64",
    "y": "u64", "z": "!", "p": "_",
}
LEGACY_ESCAPES = {"$SP$": "@", "$BP$": "*", "$RF$": "&", "$LT$": "<", "$GT$": ">", "$LP$": "(", "$RP$": ")",
                  "$C$": ","}


def demangle(name):
    """The readable form of a symbol's name."""
    if name.startswith("_R"):
        try:
            return _Path(name[2:]).parse()
        except (ValueError, IndexError, KeyError, RecursionError):
            return name
    if name.startswith("_ZN"):
        return _legacy(name[3:]) or name
    return name


def _legacy(text):
    """_ZN, then each component with its length, then E; the last component is a hash."""
    parts = []
    while match := re.match(r"(\d+)", text):
        end = match.end() + int(match[1])
        parts.append(text[match.end():end])
        text = text[end:]
    if not text.startswith("E") or not parts:
        return None
    if re.fullmatch(r"h[0-9a-f]{16}", parts[-1]):
        parts.pop()
    return "::".join(_legacy_component(part) for part in parts)


def _legacy_component(part):
    if part.startswith("_$"):
        part = part[1:]
    for escape, character in LEGACY_ESCAPES.items():
        part = part.replace(escape, character)
    part = re.sub(r"\$u([0-9a-f]+)\$", lambda match: chr(int(match[1], 16)), part)
    return part.replace("..", "::")


class _Path:
    """A recursive-descent reader of the v0 scheme (RFC 2603)."""

    def __init__(self, text):
        self.text = text
        self.position = 0

    def parse(self):
        if self.text[0].isdigit():
            raise ValueError("an unknown version")
        return self.path()

    def next(self):
        character = self.text[self.position]
        self.position += 1
        return character

    def eat(self, character):
        if self.text[self.position:self.position + 1] == character:
            self.position += 1
            return True
        return False

    def base62(self):
        value = 0
        if self.eat("_"):
            return 0
        while not self.eat("_"):
            character = self.next()
            digit = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".index(character)
            value = value * 62 + digit
        return value + 1

    def disambiguator(self):
        return self.base62() + 1 if self.eat("s") else 0

    def identifier(self):
        self.disambiguator()
        punycode = self.eat("u")
        match = re.compile(r"0|[1-9]\d*").match(self.text, self.position)
        if match is None:
            raise ValueError("a name without a length")
        self.position = match.end()
        self.eat("_")
        name = self.text[self.position:self.position + int(match[0])]
        self.position += int(match[0])
        if punycode:
            head, _, tail = name.rpartition("_")
            name = (f"{head}-" + tail).encode().decode("punycode")
        return name

    def at_reference(self, read):
        """Reads again at an earlier position."""
        target = self.base62()
        here, self.position = self.position, target
        result = read()
        self.position = here
        return result

    def path(self):
        kind = self.next()
        if kind == "C":
            return self.identifier()
        if kind == "M":
            self.disambiguator()
            self.path()
            return self.type()
        if kind in "XY":
            if kind == "X":
                self.disambiguator()
                self.path()
            implementer = self.type()
            return f"<{implementer} as {self.path().rpartition('::')[2]}>"
        if kind == "N":
            space = self.next()
            parent = self.path()
            name = self.identifier()
            if space == "C":
                return f"{parent}::{{closure}}"
            if space.isupper():
                return f"{parent}::{{{name or space}}}"
            return f"{parent}::{name}" if name else parent
        if kind == "I":
            path = self.path()
            while not self.eat("E"):
                self.generic_argument()
            return path
        if kind == "B":
            return self.at_reference(self.path)
        raise ValueError(f"unknown kind of path {kind}")

    def generic_argument(self):
        if self.eat("L"):
            self.base62()
        elif self.eat("K"):
            self.constant()
        else:
            self.type()

    def type(self):
        kind = self.next()
        if kind in BASIC_TYPES:
            return BASIC_TYPES[kind]
        if kind == "A":
            element = self.type()
            return f"[{element}; {self.constant()}]"
        if kind == "S":
            return f"[{self.type()}]"
        if kind == "T":
            members = []
            while not self.eat("E"):
                members.append(self.type())
            return f"({', '.join(members)})"
        if kind in "RQ":
            if self.eat("L"):
                self.base62()
            return ("&" if kind == "R" else "&mut ") + self.type()
        if kind in "PO":
            return ("*const " if kind == "P" else "*mut ") + self.type()
        if kind == "F":
            return self.function_type()
        if kind == "D":
            return self.dynamic_type()
        if kind == "B":
            return self.at_reference(self.type)
        self.position -= 1
        return self.path()

    def function_type(self):
        if self.eat("G"):
            self.base62()
        self.eat("U")
        if self.eat("K") and not self.eat("C"):
            self.identifier()
        parameters = []
        while not self.eat("E"):
            parameters.append(self.type())
        result = self.type()
        return f"fn({', '.join(parameters)})" + ("" if result == "()" else f" -> {result}")

    def dynamic_type(self):
        if self.eat("G"):
            self.base62()
        traits = []
        while not self.eat("E"):
            traits.append(self.path().rpartition("::")[2])
            while self.eat("p"):
                self.identifier()
                self.type()
        if self.next() != "L":
            raise ValueError("a trait object without a lifetime")
        self.base62()
        return "dyn " + "+".join(traits)

    def constant(self):
        if self.eat("B"):
            return self.at_reference(self.constant)
        if self.eat("p"):
            return "_"
        self.type()
        sign = "-" if self.eat("n") else ""
        end = self.text.index("_", self.position)
        digits = self.text[self.position:end]
        self.position = end + 1
        return sign + str(int(digits or "0", 16))
