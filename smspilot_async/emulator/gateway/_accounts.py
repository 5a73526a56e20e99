"""Accounts, and which of them a request's credentials belong to.

An account is plain data that a test may change at any time, for instance to block it or to let its money run out.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final, Literal

import attrs

from smspilot_async.emulator.gateway._errors import Refused

TEST_KEY: Final = "XXXXXXXXXXXXYYYYYYYYYYYYZZZZZZZZXXXXXXXXXXXXYYYYYYYYYYYYZZZZZZZZ"
_ALPHABET: Final = string.ascii_uppercase + string.digits
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")


@attrs.define(kw_only=True, eq=False)
class Account:
    """One customer of the gateway, with a key or a login and password (or both).

    Attributes:
        api_key: 64 letters and digits; `None` for an account that only has a login.
        login: An e-mail address; anything else never opens the account (401).
        password: What belongs to the login.
        id: The contract's number; 0 for the next free one.
        balance: Roubles left. Goes down with each accepted message.
        price: Roubles per part where `prices` says nothing.
        prices: Roubles per part by operator (``"MTS"``) or country (``"KZ"``); the operator's wins.
        senders: Registered sender names.
        default_sender: Taken where a message names none; empty means that one is required (error 200).
        any_sender: Whether other well-formed names are taken too. If not, they are refused with 204.
        trial: Whether only the first two messages of a packet are taken (242).
        blacklist: Phones, digits only, that are refused with 243.
        blocked: The error code that answers everything, such as 105, 106, 107 or 122.
        allowed_ips: The only addresses that may ask (else 113); `None` lets all.
        loop_protection: How long the same text to the same phone is refused (243). `None` is off, ``"emulator"`` takes
            the emulator's setting.
    """

    api_key: str | None = attrs.field(default=None, repr=False)
    login: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)
    id: int = 0
    tariff_id: int = 1
    name: str = "Emulated account"
    email: str = attrs.field(default="dev@example.com", repr=False)
    phone: str = attrs.field(default="79087964781", repr=False)
    registered: datetime = datetime(2012, 1, 21, 7, 25)  # noqa: DTZ001 - the wire gives no zone for it
    balance: Decimal = Decimal("1000000.00")
    price: Decimal = Decimal("1.25")
    prices: Mapping[str, Decimal] = attrs.Factory(dict)
    senders: Sequence[str] = ("SMSPILOT",)
    default_sender: str = "SMSPILOT"
    any_sender: bool = True
    trial: bool = False
    blacklist: Collection[str] = attrs.field(default=(), repr=False)
    blocked: int | None = None
    allowed_ips: Collection[str] | None = None
    loop_protection: timedelta | Literal["emulator"] | None = "emulator"
    opening_balance: Decimal = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.opening_balance = self.balance

    @property
    def is_for_tests(self) -> bool:
        """Whether this is the vendor's public test key, for which nothing is sent and nothing is charged."""
        return self.api_key == TEST_KEY

    @property
    def masked(self) -> str:
        """The end of its key, or the beginning of its login: enough to tell accounts apart, useless to others."""
        if self.api_key is not None:
            return "…" + self.api_key[len(self.api_key) - min(4, len(self.api_key) // 4) :]
        name, at, domain = (self.login or "").partition("@")
        return f"{name[:1] if len(name) > 1 else ''}…{at}{domain}"

    def price_of(self, country: str, operator: str) -> Decimal:
        """Roubles per part for a phone of this country and operator."""
        return self.prices.get(operator, self.prices.get(country, self.price))


@attrs.define
class AccountStore:
    """The accounts of one gateway."""

    accounts: list[Account] = attrs.Factory(list)
    _by_key: dict[str, Account] = attrs.field(factory=dict, repr=False)

    def add(self, account: Account) -> Account:
        """Add an account.

        Raises:
            ValueError: It was added before, or another one has its key or login.
        """
        self._refuse_twin(account)
        account.id = account.id or self._next_id()
        self.accounts.append(account)
        if account.api_key is not None:
            self._by_key[account.api_key] = account
        return account

    def authenticate(self, fields: Mapping[str, Any], client: str) -> Account:
        """The account that a document's credentials name, if it may ask from the address `client`.

        Raises:
            Refused: 100, 101, 400 or 401 for the credentials, 113 for the address, the account's own block.
        """
        account = self._named(fields)
        if account.blocked is not None:
            raise Refused(account.blocked)
        if account.allowed_ips is not None and client not in account.allowed_ips:
            raise Refused(113)
        return account

    def _refuse_twin(self, account: Account) -> None:
        if account in self.accounts:
            raise ValueError(f"this account is already there, as number {account.id}")
        if twin := self._by_key.get(account.api_key or ""):
            raise ValueError(f"account {twin.id} already has this key: give each account a key of its own")
        if twin := self._by_login(account.login):
            raise ValueError(f"account {twin.id} already has this login: give each account a login of its own")

    def _named(self, fields: Mapping[str, Any]) -> Account:
        if key := fields.get("apikey"):
            if account := self._by_key.get(str(key)):
                return account
            raise Refused(101)
        if "login" in fields or "password" in fields:
            return self._logged_in(fields.get("login"), str(fields.get("password") or ""))
        raise Refused(100)

    def _logged_in(self, login: Any, password: str) -> Account:
        if not password or not isinstance(login, str) or not _EMAIL.fullmatch(login):
            raise Refused(401)
        account = self._by_login(login)
        if account is None:
            raise Refused(400)
        if account.password is None or not secrets.compare_digest(account.password.encode(), password.encode()):
            raise Refused(401)
        return account

    def _next_id(self) -> int:
        return 1 + max((account.id for account in self.accounts if not account.is_for_tests), default=0)

    def _by_login(self, login: str | None) -> Account | None:
        return next((account for account in self.accounts if login and account.login == login), None)


def new_key(seed: int | None) -> str:
    """A key of the gateway's form: 64 letters and digits, the same for the same seed."""
    if seed is None:
        return "".join(secrets.choice(_ALPHABET) for _ in range(64))
    return "".join(Random(seed).choices(_ALPHABET, k=64))  # noqa: S311 - it opens an emulator
