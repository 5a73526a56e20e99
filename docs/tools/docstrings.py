"""Converts docstrings, which are written for editors and terminals, to the Markdown of the site."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from griffe import Extension

import smspilot_async

if TYPE_CHECKING:
    from griffe import Object

_ROLE = re.compile(r":(?:class|meth|func|data|mod|attr):`~?(?:[a-z_]\w*\.)*([\w.]+)`")
_DOCTEST = re.compile(r"^>>> .*(?:\n(?!\n).+)*", re.MULTILINE)
_LEAD_IN = re.compile(r"^([ \t]*)(.*?)::[ \t]*$\n", re.MULTILINE)


class PlainDocstrings(Extension):
    """Turns names in roles into links, and examples into blocks of code."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of every object that has one."""
        if obj.docstring is not None:
            obj.docstring.value = _in_markdown(obj.docstring.value)


def _in_markdown(text: str) -> str:
    text = _DOCTEST.sub(r"```pycon\n\g<0>\n```", text)
    return _LEAD_IN.sub(_lead_in, _ROLE.sub(_link, text))


def _link(role: re.Match[str]) -> str:
    name = role[1]
    is_public = name.partition(".")[0] in smspilot_async.__all__
    return f"[`{name}`][smspilot_async.{name}]" if is_public else f"`{name}`"


def _lead_in(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}:\n" if found[2] else "\n"
