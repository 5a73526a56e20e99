"""Who may use the page, and for what: a line for each person, in a file or in the environment.

A person's secret says who they are, so that the log of orders names people and not a password that all of them share.
"""

from __future__ import annotations

import enum
import hmac
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["People", "Person", "Role"]

_SHORTEST: Final = 20
_LONGEST_NAME: Final = 60
_FIELDS: Final = (2, 3)


class Role(enum.StrEnum):
    """What a person may do; each may do what those before it may."""

    VIEW = "view"
    """Look."""
    OPERATE = "operate"
    """Make drafts, start, pause, resume, cancel, halt and release, settle and retry."""
    APPROVE = "approve"
    """Approve campaigns, too."""

    def includes(self, needed: Role) -> bool:
        """Return whether it is enough for what needs a role."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@attrs.frozen
class Person:
    """Somebody who may use the page.

    Attributes:
        name: As orders are logged.
        role: What they may do.
        secret: By which they log in; ``None`` for someone whom only a trusted proxy names.
    """

    name: str
    role: Role
    secret: str | None = attrs.field(default=None, repr=False)


class People:
    """Everybody who may use the page.

    Raises:
        ValueError: A name or a secret is there twice, or a secret is shorter than 20 characters.
    """

    def __init__(self, people: Iterable[Person]) -> None:
        self._by_name: dict[str, Person] = {}
        for person in people:
            if person.name in self._by_name:
                raise ValueError(f"{person.name} is there twice")
            if person.secret is not None and len(person.secret) < _SHORTEST:
                raise ValueError(f"the secret of {person.name} is shorter than {_SHORTEST} characters")
            self._by_name[person.name] = person
        secrets = [person.secret for person in self._by_name.values() if person.secret is not None]
        if len(set(secrets)) < len(secrets):
            raise ValueError("two people have the same secret: it says who they are")

    def __len__(self) -> int:
        return len(self._by_name)

    @classmethod
    def parse(cls, written: str) -> People:
        """Return the people of a text: lines ``NAME ROLE SECRET``, or ``NAME ROLE`` behind a proxy.

        Raises:
            ValueError: A line is something else; it is named by its number.
        """
        people = []
        for number, line in enumerate(written.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) not in _FIELDS or words[1] not in set(Role) or len(words[0]) > _LONGEST_NAME:
                roles = ", ".join(Role)
                raise ValueError(f"line {number} is not NAME ROLE SECRET, with a role of {roles}")
            people.append(Person(words[0], Role(words[1]), words[2] if len(words) == max(_FIELDS) else None))
        return cls(people)

    def named(self, name: str) -> Person | None:
        """Return the person of a name."""
        return self._by_name.get(name)

    def by_secret(self, secret: str) -> Person | None:
        """Return whose secret this is; it takes as long whether there is one or not."""
        found = None
        for person in self._by_name.values():
            if hmac.compare_digest(secret.encode(), (person.secret or "").encode()) and person.secret:
                found = person
        return found
