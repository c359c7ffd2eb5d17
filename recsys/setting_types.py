"""What a setting may be beyond its type and bounds: text from the environment, paths, encodings, patterns, sizes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from recsys import storage
from recsys.errors import ConfigError

CHECKED: Final = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
"""For the classes of settings."""
LEAST_HEAP: Final = 512 << 20
"""Bytes. Spark wants 450 MiB of what Java reports, which is a little less than the heap."""
_MASTER: Final = re.compile(r"local(\[(\*|[1-9]\d{0,3})(,\s*[1-9]\d{0,3})?\])?|spark://\S+|k8s://\S+|yarn")
_URL: Final = re.compile(r"(https?|file)://\S+")
_ENCODINGS: Final = re.compile(
    r"utf-8(-sig)?|utf-16|utf-32|ascii|iso8859-([1-9]|11|13|15|16)|cp125[0-8]|cp(437|775|8(50|52|55|57|58|6[0-69]))|koi8-[ru]|"
    r"big5|big5hkscs|gb2312|gbk|gb18030|cp950|shift_jis|cp932|euc_jp|euc_kr|cp949|johab|tis-620"
)
"""Python's names of the text encodings that are read: common ones, in which a line break is a line break."""


def parse_size(text: str) -> int:
    """Bytes of 2g, 900m, 65536k or a plain number of bytes.

    Raises:
        ConfigError: the text is not a size.
    """
    match = re.fullmatch(r"(\d{1,18})\s*([kmgt]?)i?b?", text.strip().lower())
    if not match or int(match.group(1)) == 0:
        raise ConfigError(f"'spark.memory' must be a size such as 2g or 900m, not {text!r}")
    return int(match.group(1)) << {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[match.group(2)]


def check_positions(kernel_size: int, dilations: Sequence[int]) -> None:
    """Refuses a network that would see more than MOST_POSITIONS.

    Raises:
        ValueError: it would.
    """
    positions = 1 + (kernel_size - 1) * sum(dilations)
    if positions > MOST_POSITIONS:
        raise ValueError(
            f"kernel_size {kernel_size} with dilations {', '.join(map(str, dilations))} sees {positions} "
            f"positions; at most {MOST_POSITIONS} are allowed"
        )


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError
    return value


def _number_or_auto(value: Any) -> Any:
    return _number(_text_or_auto(value))


def _text_or_auto(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in ("", "none", "auto") else value


def _text_or_nothing(value: Any) -> Any:
    return None if value == "" else value


def _parts(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _parts_or_auto(value: Any) -> Any:
    return _parts(_text_or_auto(value))


def _unique(values: Sequence[str]) -> Sequence[str]:
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise ValueError(f"must name each only once; '{twice}' is listed twice")
    return values


def _path(value: str) -> str:
    if "\0" in value:
        raise ValueError("must be a path, without NUL characters")
    try:
        storage.check(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return value


def _local(value: str) -> str:
    if "://" in value:
        raise ValueError("must be a path on this machine, not a URI")
    return value


def _prom(value: str) -> str:
    if not value.endswith(".prom"):
        raise ValueError("must be a file whose name ends with .prom, the only ones that node exporter reads")
    return value


def _url(value: str) -> str:
    if not _URL.fullmatch(value):
        raise ValueError("must be a URL that begins with https://, http:// or file://")
    return value


def _encoding(value: str) -> str:
    try:
        name = codecs.lookup(value).name
    except (LookupError, ValueError):
        name = ""
    if not _ENCODINGS.fullmatch(name):
        raise ValueError("must be a common text encoding, such as utf-8, latin-1 or cp1252; this one is unknown")
    return value


def _delimiter(value: str) -> str:
    value = value.replace("\\t", "\t")
    if re.search(r'[\\"\r\n\0]', value):
        raise ValueError("must not contain a backslash, a double quote, a line break or NUL")
    return value


def _pattern(value: str) -> str:
    try:
        groups = re.compile(value).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"must be a valid pattern (regular expression): {error}") from None
    if groups < 1:
        raise ValueError("must contain a group, the part in parentheses that is taken")
    return value


def _memory(value: str) -> str:
    try:
        size = parse_size(value)
    except ConfigError:
        size = 0
    if size < LEAST_HEAP:
        raise ValueError(f"must be a size such as 2g or 900m, of at least {LEAST_HEAP >> 20}m")
    return value


def _master(value: str) -> str:
    if not _MASTER.fullmatch(value):
        raise ValueError("must be local, local[N], local[*], local[N,F], spark://HOST:PORT, k8s://URL or yarn")
    return value


NUMBER: Final = BeforeValidator(_number)
"""For numbers: true and false are none."""
NUMBER_OR_AUTO: Final = BeforeValidator(_number_or_auto)
"""For numbers that may be left out: text such as auto, none or nothing is None."""
LIST: Final = BeforeValidator(_parts)
"""For lists: text is divided at its commas."""
LIST_OR_AUTO: Final = BeforeValidator(_parts_or_auto)
UNIQUE: Final = AfterValidator(_unique)

MOST_POSITIONS: Final = 4096
"""Greatest receptive field; each position takes memory for every user that is scored."""
_Dilation = Annotated[int, Field(ge=1, le=MOST_POSITIONS), NUMBER]
Dilations = Annotated[tuple[_Dilation, ...] | None, Field(min_length=1, max_length=64), LIST_OR_AUTO]
Name = Annotated[str, Field(min_length=1)]
Path = Annotated[str, Field(min_length=1), AfterValidator(_path)]
FolderOrAuto = Annotated[Annotated[Path, AfterValidator(_local)] | None, BeforeValidator(_text_or_auto)]
TextFile = Annotated[Annotated[Path, AfterValidator(_local), AfterValidator(_prom)] | None, BeforeValidator(_text_or_auto)]
Forget = Annotated[Path | None, BeforeValidator(_text_or_nothing)]
UrlOrAuto = Annotated[Annotated[str, AfterValidator(_url)] | None, BeforeValidator(_text_or_auto)]
YesNoOrAuto = Annotated[bool | None, BeforeValidator(_text_or_auto)]
Column = Annotated[str | None, BeforeValidator(_text_or_nothing)]
Encoding = Annotated[str, AfterValidator(_encoding)]
Delimiter = Annotated[str, Field(min_length=1, max_length=20), AfterValidator(_delimiter)]
Pattern = Annotated[Annotated[str, AfterValidator(_pattern)] | None, BeforeValidator(_text_or_nothing)]
Memory = Annotated[Annotated[str, AfterValidator(_memory)] | None, BeforeValidator(_text_or_auto)]
Master = Annotated[str, AfterValidator(_master)]

Share = Annotated[float, Field(ge=0, le=1), NUMBER]
OpenShare = Annotated[float, Field(gt=0, lt=1), NUMBER]
Count = Annotated[int, Field(ge=0, le=2**31 - 1), NUMBER]
Size = Annotated[int, Field(ge=1, le=2**31 - 1), NUMBER]
Names = Annotated[tuple[Name, ...], LIST]
