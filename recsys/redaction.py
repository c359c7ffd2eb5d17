"""Secrets and control characters, taken out of whatever is recorded or shown.

A secret is known by its name (`spark.hadoop.fs.s3a.secret.key`) or by its form: a password in a URL, `NAME=VALUE` with such a
name in running text.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "***"
"""Stands for a secret."""
_NAME: Final = (
    r"secret|passw(?:or)?d|passphrase|pwd\b|token(?!s)|credential(?!s?\.provider)|signature|"
    r"(?:access|account|api|private|encryption|auth)[._-]?key|\.sas\."
)
_SECRET_NAME: Final = re.compile(_NAME, re.IGNORECASE)
_NAMED: Final = rf"""(?:[\w.-]*(?:{_NAME})[\w.-]*|[?&]sig)(?:=|["']:\s*)"""
_IN_TEXT: Final = (
    # scheme://user:password@host, https://token@host; but abfs://container@account
    (re.compile(r"""(\b[a-z][a-z0-9+.-]*://)[^\s/?#'"@]*:[^\s/?#'"]*@""", re.IGNORECASE), rf"\1{MASK}@"),
    (re.compile(r"""(\bhttps?://)[^\s/?#'"]+@""", re.IGNORECASE), rf"\1{MASK}@"),
    # NAME="VALUE", "NAME": "VALUE", NAME=VALUE. Rather too much is masked than too little: a bracket after the value goes too.
    (re.compile(rf"""({_NAMED})(["'])[^\n]*?\2""", re.IGNORECASE), rf"\1\2{MASK}\2"),
    (re.compile(rf"""({_NAMED}["']?)[^\s"'&]+""", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"\b(Bearer|Basic) [\w.~+/=-]{8,}"), rf"\1 {MASK}"),
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def redacted(value: Any, name: str = "") -> Any:
    """A copy with every secret masked: of text, or of nested mappings and lists such as a configuration.

    Args:
        value: what is recorded or shown.
        name: name of the value, if it has one; a secret's name masks it whatever it is.
    """
    if isinstance(value, Mapping):
        return {key: redacted(below, str(key)) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(redacted(below) for below in value)
    if value is not None and _SECRET_NAME.search(name):
        return MASK
    if isinstance(value, str):
        for form, mask in _IN_TEXT:
            value = form.sub(mask, value)
    return value


def printable(text: str) -> str:
    """A message that is safe on a terminal and in a log: without secrets and control characters."""
    return str(redacted(without_controls(text)))


def without_controls(text: str) -> str:
    """Text without control characters (C0, DEL, C1), but for line ends and tabs.

    Data may contain them: an escape sequence in a title could rewrite the screen, the window's title or the clipboard.
    """
    return _CONTROL.sub("", text)


def one_line(text: str) -> str:
    """A value from the data as part of one printed line: without control characters, its line ends and tabs as spaces."""
    return re.sub(r"[\t\n]+", " ", without_controls(text))


class Formatter(logging.Formatter):
    """Log records as `printable` text."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        return printable(super().format(record))
