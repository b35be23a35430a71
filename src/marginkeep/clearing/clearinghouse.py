"""The clearinghouse: commands in, events out. Deterministic, total, atomic."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from marginkeep.clearing import bids, cash, commands, governance, pricing, quoting, trading
from marginkeep.clearing.calls import forget_healed
from marginkeep.clearing.enforcement import enforce
from marginkeep.clearing.events import Event, Rejected
from marginkeep.clearing.state import State
from marginkeep.clearing.transaction import Refusal, Transaction, refuse
from marginkeep.units import INT64_SAFE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from marginkeep.book.columns import Book
    from marginkeep.book.watch import Watch
    from marginkeep.rulebook import Rulebook

NAME_LENGTH_MAX: Final = 64
TEXT_LENGTH_MAX: Final = 2**22

_HANDLERS: Final[dict[type, Callable[[Transaction, Any], None]]] = {
    commands.Deposit: cash.deposit,
    commands.Withdraw: cash.withdraw,
    commands.Transfer: cash.transfer,
    commands.AddMargin: cash.add_margin,
    commands.RemoveMargin: cash.remove_margin,
    commands.ChangeMode: cash.change_mode,
    commands.TopUpFund: cash.top_up_fund,
    commands.ReserveOrder: trading.reserve_order,
    commands.ReleaseOrder: trading.release_order,
    commands.Trade: trading.trade,
    commands.SetPrices: pricing.set_prices,
    commands.PayFunding: pricing.pay_funding,
    commands.AdvanceTime: pricing.advance_time,
    commands.AdoptRulebook: governance.adopt_rulebook,
    commands.PublishQuotes: quoting.publish_quotes,
    commands.ObserveBook: quoting.observe_book,
    commands.Halt: quoting.halt,
    commands.Resume: quoting.resume,
    commands.RegisterLiquidator: bids.register_liquidator,
    commands.Bid: bids.bid,
}

_MOVES_THE_BOOK: Final = (commands.SetPrices, commands.PayFunding, commands.AdoptRulebook)
"""Commands after which any account may be below maintenance."""

CHECKABLE: Final = (
    commands.ReserveOrder,
    commands.Withdraw,
    commands.Transfer,
    commands.AddMargin,
    commands.RemoveMargin,
    commands.ChangeMode,
)
"""Commands whose handlers only stage: until `Transaction.commit` they change nothing."""

_MOVES_TIME: Final = (commands.AdvanceTime, commands.PublishQuotes)

_ORDERS: Final = (commands.ReserveOrder, commands.ReleaseOrder)
"""Commands that change nothing but what orders reserve, unless funding is due."""

_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "mode": ("cross", "isolated"),
    "side": ("buy", "sell"),
    "taker": ("buyer", "seller"),
    "state": ("reduce_only", "guarded", "halted"),
}
_TABLES: Final = ("marks", "prices")
_TEXTS: Final = ("rules",)


class Clearinghouse:
    """The engine. One method matters: `apply`.

    Parameters
    ----------
    rulebook : the parameters, fixed for the life of this object

    Examples
    --------
    >>> from marginkeep.rulebook import read_rulebook
    >>> house = Clearinghouse(read_rulebook({"assets": {"USD": {}}}))
    >>> house.apply(commands.Withdraw(account="ann", asset="USD", amount=1))[0].code
    'unknown_account'
    """

    __slots__ = ("state",)

    def __init__(self, rulebook: Rulebook) -> None:
        self.state = State.empty(rulebook)

    @classmethod
    def opened_with(cls, rulebook: Rulebook, book: Book, names: Sequence[str]) -> Clearinghouse:
        """Return a clearinghouse that starts from a given book (see `State.opened_with`)."""
        house = cls.__new__(cls)
        house.state = State.opened_with(rulebook, book, names)
        return house

    def apply(self, command: commands.Command) -> tuple[Event, ...]:
        """Apply one command and return what happened.

        A command that may not be done changes nothing and yields one `Rejected` event that says why, with the
        numbers behind it. No input makes this method raise; only a defect does (`InvariantViolation`).
        """
        handler = _HANDLERS.get(type(command))
        if handler is None:
            return (_rejected(command, Refusal("unknown_command", f"{type(command).__name__} is not a command")),)
        state = self.state
        state.sequence += 1
        transaction = Transaction(state)
        try:
            _require_well_formed(command)
            handler(transaction, command)
        except Refusal as refusal:
            return (_rejected(command, refusal),)
        events = transaction.commit()
        movement, funded = transaction.movement, transaction.funded
        moved = movement is not None and (movement.acts or state.called)
        if funded or moved or isinstance(command, _MOVES_THE_BOOK):
            return events + enforce(state, command, movement, funded)
        noted = state.watch is not None and self._is_news(command, transaction, state.watch)
        if not (noted or state.called or state.ill):
            return events
        return events + self._follow_up(command, transaction, noted)

    def check(self, command: commands.Command) -> tuple[Event, ...]:
        """Return what a command of `CHECKABLE` would be answered now, and change nothing.

        What the house does of its own accord after a command is not part of the answer.
        """
        transaction = Transaction(self.state)
        try:
            if not isinstance(command, CHECKABLE):
                refuse("not_checkable", f"{type(command).__name__} cannot be tried without being done")
            _require_well_formed(command)
            _HANDLERS[type(command)](transaction, command)
        except Refusal as refusal:
            return (_rejected(command, refusal),)
        return tuple(transaction.events)

    def _is_news(self, command: commands.Command, transaction: Transaction, watch: Watch) -> bool:
        """Tell whether the watch has to look at those whom a command has touched.

        What orders reserve counts for initial margin alone. But whoever is below maintenance and cannot be liquidated
        has its orders released with the next price, a new one too.
        """
        if not isinstance(command, _ORDERS) or transaction.has_booked_funding:
            return True
        return watch.is_breached(self.state.index[command.account])

    def _follow_up(self, command: commands.Command, transaction: Transaction, noted: bool) -> tuple[Event, ...]:
        """Tell those who look at accounts one by one which ones a command has changed."""
        state = self.state
        touched = transaction.touched()
        if noted and state.watch is not None:
            state.watch.note(touched)
        if state.called:
            forget_healed(state, [state.names[i] for i in touched if state.names[i] in state.called])
        return self._attend(command, transaction, touched) if state.ill else ()

    def _attend(self, command: commands.Command, transaction: Transaction, touched: Sequence[int]) -> tuple[Event, ...]:
        """Attend those on the ladder whom a command has touched, and everybody whose time has come."""
        from marginkeep.clearing.attendance import attend_these, has_due

        state = self.state
        if isinstance(command, _MOVES_TIME) and has_due(state):
            return enforce(state, command, transaction.movement)
        return attend_these(state, [state.names[i] for i in touched if state.names[i] in state.ill])


def _rejected(command: object, refusal: Refusal) -> Rejected:
    return Rejected(
        command=type(command).__name__,
        code=refusal.code,
        reason=refusal.reason,
        numbers=refusal.numbers,
        prices=refusal.prices,
    )


def _require_well_formed(command: commands.Command) -> None:
    """Refuse fields of the wrong type or size: commands built in Python have not passed a decoder."""
    for name, check in _checks(type(command)):
        check(name, getattr(command, name))


@cache
def _checks(kind: type[commands.Command]) -> tuple[tuple[str, Callable[[str, Any], None]], ...]:
    """Return a command's fields, each with its check; asking msgspec anew costs more than applying the command."""
    return tuple((field.name, _check_of(field)) for field in structs.fields(kind))


def _check_of(field: structs.FieldInfo) -> Callable[[str, Any], None]:
    if field.name in _CHOICES:
        return _require_choice
    if field.type is int:
        return _require_integer
    if field.name in _TABLES:
        return _require_table
    if field.name in _TEXTS:
        return _require_text
    if field.name == "quotes":
        return _require_quotes
    return _require_name if field.type is str else _require_name_or_none


def _require_choice(name: str, value: object) -> None:
    if value not in _CHOICES[name]:
        raise Refusal("bad_choice", f"{name} is {value!r}: use one of {', '.join(_CHOICES[name])}")


def _require_text(name: str, value: object) -> None:
    if not isinstance(value, str) or len(value) > TEXT_LENGTH_MAX:
        raise Refusal("bad_text", f"{name} must be text of at most {TEXT_LENGTH_MAX} characters")


def _require_quotes(name: str, value: object) -> None:
    """Check quotes: names are looked up later, numbers must be integers that columns can hold."""
    if not isinstance(value, tuple):
        raise Refusal("bad_quotes", f"{name} is {value!r:.80}: give a tuple of quotes")
    for quote in value:
        if type(quote) is not commands.Quote:
            raise Refusal("bad_quotes", f"{quote!r:.80} is not a quote")
        for number in (quote.price, quote.confidence, quote.source_ns, quote.arrival_ns):
            if type(number) is not int or not -INT64_SAFE <= number <= INT64_SAFE:
                raise Refusal("bad_number", f"{quote!r:.200}: give integers within {INT64_SAFE}", bound=INT64_SAFE)
        if type(quote.feed) is not str or type(quote.source) is not str:
            raise Refusal("bad_name", f"{quote!r:.200}: feed and source are names")


def _require_table(name: str, value: object) -> None:
    """Check a table of prices by name."""
    if not isinstance(value, dict):
        raise Refusal("bad_table", f"{name} is {value!r:.80}: give prices by name")
    for key, ticks in value.items():
        _require_name(f"a name in {name}", key)
        _require_integer(f"{name}[{key!r}]", ticks)


def _require_name(name: str, value: object) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= NAME_LENGTH_MAX or not value.isprintable():
        raise Refusal("bad_name", f"{name} is {value!r:.80}: give 1 to {NAME_LENGTH_MAX} printable characters")


def _require_name_or_none(name: str, value: object) -> None:
    if value is not None:
        _require_name(name, value)


def _require_integer(name: str, value: object) -> None:
    if type(value) is not int:
        raise Refusal("bad_number", f"{name} is {value!r:.80}: give an integer count of its unit")
    if not -INT64_SAFE <= value <= INT64_SAFE:
        raise Refusal("bad_number", f"{name} is beyond the bound of {INT64_SAFE}", bound=INT64_SAFE)
