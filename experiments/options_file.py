"""A YAML file of options, which may be anybody's: read with suspicion, and refused in a sentence."""

import difflib
import reprlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 1_000_000


def read_options(path: Path, known: Collection[str] | None = None) -> dict[str, Any]:
    """The options in a YAML file, by name: numbers, words, or lists of those.

    Raises
        ValueError: no file that can be read; no YAML, or something else than options with their values; an option that
            stands in it twice, or is not among the ``known``
    """
    values = _parsed(path)
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        came = f"{reprlib.repr(values)}, " if values is not None else ""
        raise ValueError(f"{path} holds {came or 'nothing, '}expected options with their values, such as epochs: 30")
    for name, value in values.items():
        if known is not None and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{path} holds {name!r}, which is no option{hint}")
        for part in value if isinstance(value, list) else [value]:
            if not isinstance(part, str | int | float | None):
                raise ValueError(
                    f"{name} is {reprlib.repr(value)} in {path}, expected a number, a word or a list of them"
                )
    return values


def _parsed(path: Path) -> Any:
    try:
        if not path.is_file():  # looked at before it is opened: a pipe would wait for ever
            came = "is a folder" if path.is_dir() else "is no regular file" if path.exists() else "is not there"
            raise ValueError(f"{path} {came}, expected a YAML file of options")
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path} has {path.stat().st_size:,} bytes, expected at most {MOST_BYTES:,} of options")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged: it is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{path} is damaged{where}: {error.problem}, expected YAML") from error
    except RecursionError as error:
        raise ValueError(f"{path} is damaged: its values are nested too deeply, expected options and values") from error
    except (yaml.YAMLError, ValueError) as error:  # a date of month 13, say
        raise ValueError(f"{path} is damaged: {' '.join(str(error).split())}, expected YAML") from error


class _Loader(yaml.SafeLoader):
    """Refuses a key that comes twice, of which YAML would keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} stands in it twice", problem_mark=key.start_mark)
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)
