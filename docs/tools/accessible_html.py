"""Mends what Sphinx and furo write and a screen reader cannot read: headings without a level, lists without terms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_PARAMETERS: Final = re.compile(r'<dl>\n((?:<dd>.*</dd>\n)+)</dl>(?=\s*<span class="(?:sig-paren|optional)">)')


def setup(app: Sphinx) -> dict[str, Any]:
    """Join the build."""
    app.connect("html-page-context", _mend, priority=900)  # after furo
    return {"parallel_read_safe": True}


def _mend(_: Sphinx, __: str, ___: str, context: dict[str, Any], ____: object) -> None:
    if "furo_navigation_tree" in context:
        context["furo_navigation_tree"] = with_levels(context["furo_navigation_tree"])
    if "body" in context:
        context["body"] = with_plain_parameters(context["body"])


def with_levels(navigation: str) -> str:
    """Give the headings of the sidebar a level."""
    return navigation.replace('role="heading"', 'role="heading" aria-level="2"')


def with_plain_parameters(body: str) -> str:
    """Write a signature of several lines as lines, and not as a list of definitions that defines nothing."""
    return _PARAMETERS.sub(lambda found: re.sub(r"<(/?)dd>", _line, found[1]), body)


def _line(tag: re.Match[str]) -> str:
    return "</span>" if tag[1] else '<span class="sig-line">'
