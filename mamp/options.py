"""Fields of configuration dataclasses as command-line options.

Names, types and help come from the dataclasses: ``optim.lr`` is the field ``lr`` of the field ``optim``, and its help
is its entry in the ``Attributes:`` section of the docstring.

tyro (1.0.17) was tried twice on the same dataclasses and is not used. ``none``, ``true`` and ``30,150``, which docs and
old command lines have, need a rule of our own that holds all rules for values below. With it, ``--augment.center`` no
longer works without a value, mistakes are reported in boxes of 4 to 14 lines that cannot be turned off, nothing is
suggested for ``--mask_ration`` or ``--optim.learning_rate``, and nothing says which fields were given, which
evaluations need to know of the encoder's fields.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mamp.errors import ConfigError

_Config = TypeVar("_Config")

NONE = ("none", "null")
BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class Setting:
    """One field of a configuration.

    Attributes:
        name: Dotted name, ``optim.lr``.
        kind: Annotated type.
        default: Value in the given configuration.
        help: Description from the docstring.
    """

    name: str
    kind: Any
    default: Any
    help: str

    @property
    def group(self) -> str:
        """Name of the section, ``optim``."""
        return self.name.rpartition(".")[0]

    @property
    def many(self) -> bool:
        """Whether the field takes several words."""
        return any(get_origin(kind) is tuple for kind in _alternatives(self.kind))


def settings(config: Any, prefix: str = "") -> list[Setting]:
    """All fields of a configuration; those of nested sections last."""
    kinds, docs = get_type_hints(type(config)), attribute_docs(type(config))
    own, parts = [], []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            parts += settings(value, f"{prefix}{field.name}.")
        else:
            own.append(Setting(prefix + field.name, kinds[field.name], value, docs.get(field.name, "")))
    return own + parts


def attribute_docs(cls: type) -> dict[str, str]:
    """Descriptions in the ``Attributes:`` sections of a class and its bases, as plain text."""
    docs: dict[str, str] = {}
    for base in cls.__bases__:
        docs |= attribute_docs(base)
    name = ""
    for line in inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")[2].splitlines():
        if entry := re.match(r" {4}(\w+): (.*)", line):
            name = entry[1]
            docs[name] = entry[2]
        elif name and line.startswith(" " * 8):
            docs[name] += " " + line.strip()
        else:
            break
    return {name: re.sub(r":\w+:`~?([^`]*)`|``([^`]*)``", r"\1\2", text) for name, text in docs.items()}


def override(config: _Config, changes: Mapping[str, str | Sequence[str]]) -> _Config:
    """Return a copy of a configuration with some fields, by dotted name, parsed from text.

    Raises:
        ConfigError: A field is unknown, or its value is invalid.
    """
    known = {setting.name: setting for setting in settings(config)}
    values = {}
    for name, words in changes.items():
        if name not in known:
            raise ConfigError(f"unknown field {name!r}.{nearest(name, list(known.values()))}")
        values[name] = parse(known[name], [words] if isinstance(words, str) else words)
    return with_values(config, values)


def with_values(config: _Config, values: Mapping[str, Any]) -> _Config:
    """Return a copy of a configuration with some fields, by dotted name, changed.

    Raises:
        ConfigError: A field is unknown, or a value is invalid.
    """
    known = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        first, _, rest = name.partition(".")
        if first not in known or (rest and not dataclasses.is_dataclass(getattr(config, first))):
            raise ConfigError(f"unknown field {name!r}.{nearest(name, settings(config))}")
        if rest:
            parts.setdefault(first, {})[rest] = value
        else:
            changes[first] = value
    changes |= {name: with_values(getattr(config, name), part) for name, part in parts.items()}
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def nearest(name: str, known: list[Setting], written: Callable[[str], str] = repr) -> str:
    """Suggest fields with the same last name, a similar name, or a matching description."""
    last = name.rpartition(".")[2]
    ends: dict[str, list[str]] = {}
    for setting in known:
        ends.setdefault(setting.name.rpartition(".")[2], []).append(setting.name)
    found = difflib.get_close_matches(name, [setting.name for setting in known], n=1, cutoff=0.8)
    found = found or [one for end in difflib.get_close_matches(last, ends, n=1, cutoff=0.75) for one in ends[end]]
    found = found or [setting.name for setting in known if last.replace("_", " ") in setting.help.lower()]
    found = found or [one for end in difflib.get_close_matches(last, ends, n=1, cutoff=0.5) for one in ends[end]]
    return f" Did you mean {' or '.join(map(written, found[:3]))}?" if found else ""


def parse(setting: Setting, words: Sequence[str]) -> Any:
    """Parse the value of a field; :class:`ConfigError` if it does not match its type."""
    split = [part for word in words for part in re.split(r"[,\s]+", word) if part] if setting.many else list(words)
    for kind in _alternatives(setting.kind):
        value = _convert(kind, split)
        if value is not _NOT:
            return value
    raise ConfigError(f"{setting.name}: expected {describe_kind(setting.kind)}, found {' '.join(words)!r}.")


def describe_kind(kind: Any) -> str:
    """Describe a type."""
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(describe_kind(one) for one in get_args(kind))
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        first, *rest = get_args(kind)
        if rest == [...]:
            return {int: "whole numbers", float: "numbers"}.get(first, "words") + " separated by commas"
        return f"{len(get_args(kind))} {'whole ' if first is int else ''}numbers"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a word", NoneType: "none"}[kind]


def show(value: Any) -> str:
    """Format a value as on the command line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return " ".join(map(show, value)) if value else '""'
    return f"{value:g}" if isinstance(value, float) else str(value)


def add_setting(group: Any, setting: Setting, default: str | None = None) -> None:
    """Add an option for a field to a parser or group; ``default`` overrides the default shown in the help."""
    default = show(setting.default) if default is None else default
    text = f"{setting.help} Takes {describe_kind(setting.kind)}. [{default}]"
    shape: dict[str, Any] = {"nargs": "+"} if setting.many else {}
    if setting.kind is bool:
        shape = {"nargs": "?", "const": "true"}
    group.add_argument(
        f"--{setting.name}",
        dest=setting.name,
        metavar=setting.name.rpartition(".")[2].upper(),
        default=argparse.SUPPRESS,
        help=text.replace("%", "%%"),
        **shape,
    )


def add_settings(
    parser: argparse.ArgumentParser, known: list[Setting], title: str = "", note: str | None = None, **shown: str
) -> None:
    """Add an option for each field, in a group for each part of the configuration.

    Args:
        parser: Takes the options.
        known: The fields.
        title: Title of the group of fields that belong to no part.
        note: Description of each group.
        **shown: ``default``, shown instead of the fields' own defaults.
    """
    groups: dict[str, Any] = {}
    for setting in known:
        name = setting.group or title
        if name not in groups:
            groups[name] = parser.add_argument_group(name, note)
        add_setting(groups[name], setting, **shown)


def refuse_unknown(parser: argparse.ArgumentParser, rest: Sequence[str], known: list[Setting], prefix: str) -> None:
    """Exit with an error at the first unknown option, and suggest the nearest known ones."""
    options = [option[2:] for option in parser._option_string_actions if option.startswith("--")]
    names = {setting.name for setting in known}
    own = [Setting(option, str, None, "") for option in options if option not in names]
    for word in rest:
        if word.startswith("-"):
            name = word.lstrip("-").partition("=")[0]
            parser.error(f"{prefix} --{name}.{nearest(name, own + known, '--{}'.format)}")


_NOT = object()


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """The members of a union, None first; else the type itself."""
    if get_origin(kind) in (Union, UnionType):
        return tuple(sorted(get_args(kind), key=lambda one: one is not NoneType))
    return (kind,)


def _convert(kind: Any, words: Sequence[str]) -> Any:
    """Parse a value of one type; ``_NOT`` if it does not match."""
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        if len(kinds) == 2 and kinds[1] is ...:
            words = () if len(words) == 1 and words[0].lower() in NONE else words
            kinds = (kinds[0],) * len(words)
        if len(words) != len(kinds):
            return _NOT
        values = tuple(_convert(one, [word]) for one, word in zip(kinds, words, strict=True))
        return _NOT if _NOT in values else values
    if len(words) != 1:
        return _NOT
    word = words[0]
    if get_origin(kind) is Literal:
        return word if word in get_args(kind) else _NOT
    if kind is NoneType:
        return None if word.lower() in NONE else _NOT
    if kind is bool:
        return BOOLEANS.get(word.lower(), _NOT)
    if kind is str:
        return word
    try:
        value = kind(word)
    except ValueError:
        return _NOT
    return value if math.isfinite(value) else _NOT
