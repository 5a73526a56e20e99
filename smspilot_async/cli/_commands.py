"""What all commands share: the layout of their help, and the handling of errors that they raise."""

from __future__ import annotations

import contextlib
import itertools
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from smspilot_async.cli._errors import Exit, Problem, as_json, final_code, show, unexpected
from smspilot_async.cli._language import begin, is_english, label, said, usage
from smspilot_async.cli._output import begin_output, give_up_stdout, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_HYPHEN: Final = "\ue000"  # appears in no text, and no line is broken at it


class _Formatter(click.HelpFormatter):
    """Writes in the user's language, and breaks no lines at hyphens: the name of an option is one word."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, usage(args), f"{said('Usage:')} " if prefix is None else prefix)

    def write_heading(self, heading: str) -> None:
        super().write_heading(label(heading))

    def write_text(self, text: str) -> None:
        paragraphs = text if is_english() else "\n\n".join(map(_paragraph, text.split("\n\n")))
        super().write_text(paragraphs.replace("-", _HYPHEN))

    def write_dl(self, rows: Iterable[tuple[str, str]], *rest: Any, **more: Any) -> None:
        written = [(usage(name), said(text).replace("-", _HYPHEN)) for name, text in rows]
        super().write_dl(written, *rest, **more)

    def getvalue(self) -> str:
        return super().getvalue().replace(_HYPHEN, "-")


_AS_IT_STANDS: Final = "\b\n"  # click leaves the lines of such a paragraph as they are


def _paragraph(text: str) -> str:
    if text.startswith(_AS_IT_STANDS):
        return _AS_IT_STANDS + said(text.removeprefix(_AS_IT_STANDS))
    return said(" ".join(text.split()))


class _Context(click.Context):
    formatter_class = _Formatter


class _ShortHelp(click.Command):
    """Shows the first sentence of the help in a list of commands, in whatever language."""

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return it; in English click cuts it, in another language it is as long as it is."""
        return super().get_short_help_str(limit if is_english() else len(self.help or ""))


_PAID = frozenset({"send", "bulk", "worker", "run", "test"})


class _Command(_ShortHelp):
    """A command whose help may meet a full disk."""

    context_class = _Context

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _printing_help(ctx):
            return super().parse_args(ctx, args)


@contextlib.contextmanager
def _printing_help(ctx: click.Context) -> Iterator[None]:
    """Handle a failed write while parsing, which prints only the help or the version."""
    try:
        yield
    except OSError as wrong:
        give_up_stdout(wrong)
        ctx.exit()


class Commands(_ShortHelp, click.Group):
    """Turns every error of a command into one line (JSON if requested) and an exit code."""

    command_class = _Command
    context_class = _Context

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _printing_help(ctx):
            return super().parse_args(ctx, args)

    def main(self, args: Sequence[str] | None = None, *rest: Any, **more: Any) -> NoReturn:
        begin_output()
        begin()
        arguments = sys.argv[1:] if args is None else list(args)
        problem: click.ClickException
        try:
            code = super().main(args, *rest, **{**more, "standalone_mode": False})
        except click.ClickException as wrong:
            problem = wrong
        except click.Abort:
            problem = Problem("interrupted.", Exit.INTERRUPTED)
        else:
            sys.exit(final_code(code or Exit.FINE))
        if "--json" in itertools.takewhile(lambda argument: argument != "--", arguments):
            event = {"event": "error"} if arguments[0] == "bulk" else {}  # its lines are events
            print_json({**event, **as_json(problem)})
        show(problem)
        sys.exit(final_code(problem.exit_code))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (KeyboardInterrupt, click.Abort):
            problem = Problem("interrupted.", Exit.INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - a traceback could show secrets
            problem = unexpected(error, paid=ctx.invoked_subcommand in _PAID)
        raise problem
