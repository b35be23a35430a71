"""`marginkeep client`: speak to a running service.

Exit codes: 0 done, yes, or seen; 1 the check says no, or what was waited for has not come; 2 refused, or wrong usage;
4 the service cannot be reached, or accepts nothing now.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from marginkeep.client import Client
    from marginkeep.client.stream_messages import StreamMessage

EXIT_NO: Final = 1
EXIT_REFUSED: Final = 2
EXIT_UNREACHABLE: Final = 4
EVERY_ACCOUNT: Final = "*"
MARGIN_CALL: Final = "margin-call"
AT: Final = "at"
NEGATIVE: Final = {"ignore_unknown_options": True}
"""A number that begins with a minus is no option: the service says what is wrong with it."""

REMEMBERED: Final = 10_000
"""Events told last, by which one that comes in a second channel is known again."""


class ServiceSaid(click.ClickException):
    """A refusal by the service, in one line; with --json as JSON too, where the answer would be."""

    exit_code = EXIT_REFUSED

    def __init__(self, message: str, table: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.table = table

    def show(self, file: Any = None) -> None:
        """Print it."""
        click.echo(f"marginkeep: {self.message}", err=True, file=file)
        if self.table is not None:
            click.echo(_json({"error": self.table}))


class ServiceAway(ServiceSaid):
    """The service cannot be reached, or accepts nothing now."""

    exit_code = EXIT_UNREACHABLE


class _Group(click.Group):
    """Turns errors of the service into one line and an exit code."""

    def invoke(self, context: click.Context) -> Any:
        from marginkeep.cli.client_lines import error_line, error_table
        from marginkeep.client.errors import ClientError, TooMany, Unavailable, Unreachable

        try:
            return super().invoke(context)
        except ClientError as error:
            absent = isinstance(error, (Unreachable, Unavailable, TooMany))
            table = error_table(error) if context.params.get("as_json") else None
            raise (ServiceAway if absent else ServiceSaid)(error_line(error), table) from error


@dataclass
class Desk:
    """What every subcommand has: a client, whose account is meant, and how to print."""

    open_client: Callable[[], Client]
    stated: str
    as_json: bool

    @cached_property
    def client(self) -> Client:
        """The client, made when it is first needed: who asks for help need not have a key."""
        return self.open_client()

    @property
    def account(self) -> str:
        """The account that is meant: the one stated, or the only one that the key is bound to."""
        if not self.stated:
            bound = self.client.own_key().accounts
            if len(bound) != 1 or bound[0] == EVERY_ACCOUNT:
                raise InputError("the key acts for more than one account: name one with --account")
            self.stated = bound[0]
        return self.stated

    @cached_property
    def asset(self) -> str:
        """The reporting asset."""
        return self.client.assets().reporting

    @cached_property
    def ticks(self) -> dict[str, str]:
        """The tick of every market."""
        return {one.market: one.tick for one in self.client.markets().markets}

    def tell(self, answer: Any, lines: Callable[[], Iterable[str]]) -> None:
        """Print an answer as JSON, or in lines."""
        if self.as_json:
            click.echo(_json(answer))
            return
        for line in lines():
            click.echo(line)


@click.group(cls=_Group)
@click.option("--credentials", type=click.Path(path_type=Path), metavar="FILE", help="The key's file; always needed.")
@click.option("--address", metavar="URL", help="The service; left out: as the credentials state.")
@click.option("--account", "stated", default="", metavar="ACCOUNT", help="Owner, or OWNER/MARKET; left out: the key's.")
@click.option("--timeout", type=click.FloatRange(0.1), default=10.0, show_default=True, help="Seconds an attempt.")
@click.option("--retries", type=click.IntRange(0), default=5, show_default=True, help="Attempts after the first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
@click.pass_context
def client(
    context: click.Context,
    credentials: Path | None,
    address: str | None,
    stated: str,
    timeout: float,
    retries: int,
    *,
    as_json: bool,
) -> None:
    """Speak to a running service.

    Exit codes: 0 done, yes, or seen; 1 the check says no, or nothing came; 2 refused, or wrong usage; 4 unreachable.
    """

    def open_client() -> Client:
        from marginkeep.client import Client

        if credentials is None:
            raise click.UsageError(
                "--credentials is missing: name the key's file, as in `client --credentials FILE status`"
            )
        made = Client(address, credentials, timeout=timeout, retries=retries)
        context.call_on_close(made.close)
        return made

    context.obj = Desk(open_client, stated, as_json)


_pass = click.pass_obj
_key = click.option("--key", help="Idempotency key, to ask again about a command whose answer did not come.")


@client.command()
@_pass
def status(desk: Desk) -> None:
    """Show how the service stands."""
    answer = desk.client.status()
    bad = answer.halted or answer.trouble
    lines = (
        f"{answer.name}, version {answer.version}: {f'IN TROUBLE: {bad}' if bad else 'accepts commands'}",
        f"    record {answer.sequence}, durable {answer.durable}; {answer.waiting} requests wait",
        f"    rulebook {answer.rulebook} {answer.rulebook_hash[:12]}",
    )
    desk.tell(answer, lambda: lines)


@client.command()
@_pass
def account(desk: Desk) -> None:
    """Show balances, positions and orders, and how far they are from liquidation."""
    from marginkeep.cli.client_lines import account_lines

    answer = desk.client.account(desk.account)
    desk.tell(answer, lambda: (line for one in answer.accounts for line in account_lines(one, desk.asset, desk.ticks)))


@client.command(context_settings=NEGATIVE)
@click.argument("side", type=click.Choice(["buy", "sell"]))
@click.argument("size")
@click.argument("market")
@click.argument("at", nargs=-1, metavar="at PRICE")
@_pass
@click.pass_context
def check(context: click.Context, desk: Desk, side: Any, size: str, market: str, at: tuple[str, ...]) -> None:
    """Ask whether an order would pass, without placing it: `check buy 2 BTC-PERP at 50000`."""
    from marginkeep.cli.client_lines import verdict_lines

    price = _price(at)
    answer = desk.client.check_order(desk.account, market, side, size, price)
    desk.tell(answer, lambda: verdict_lines(answer, f"{side} {size} {market} at {price}", desk.asset))
    context.exit(0 if answer.accepted else EXIT_NO)


@client.command(context_settings=NEGATIVE)
@click.argument("side", type=click.Choice(["buy", "sell"]))
@click.argument("size")
@click.argument("market")
@click.argument("at", nargs=-1, metavar="at PRICE")
@click.option("--order", "name", help="The order's id; left out: a new one.")
@_key
@_pass
def order(
    desk: Desk, side: Any, size: str, market: str, at: tuple[str, ...], name: str | None, key: str | None
) -> None:
    """Check an order and reserve its margin: `order buy 2 BTC-PERP at 50000`."""
    chosen = name or uuid.uuid4().hex[:12]
    _tell_command(desk, desk.client.order(desk.account, chosen, market, side, size, _price(at), key=key))


@client.command()
@click.argument("name", metavar="ORDER")
@_key
@_pass
def release(desk: Desk, name: str, key: str | None) -> None:
    """Give back what ORDER still reserves."""
    _tell_command(desk, desk.client.release(desk.account, name, key=key))


@client.command(context_settings=NEGATIVE)
@click.argument("amount")
@click.argument("asset")
@_key
@_pass
def deposit(desk: Desk, amount: str, asset: str, key: str | None) -> None:
    """Book a deposit; the key must be the venue's."""
    _tell_command(desk, desk.client.deposit(desk.account, asset, amount, key=key))


@client.command("what-if")
@click.argument("prices", nargs=-1, required=True, metavar="NAME=PRICE...")
@_pass
def what_if(desk: Desk, prices: tuple[str, ...]) -> None:
    """Show how the account would stand at other prices: `what-if BTC-PERP=45000`."""
    from marginkeep.cli.client_lines import account_lines

    stated = dict(_named_price(text) for text in prices)
    answer = desk.client.what_if(desk.account, prices=stated)
    desk.tell(answer, lambda: (line for one in answer.after for line in account_lines(one, desk.asset, desk.ticks)))


@client.command()
@click.option("--until", "wanted", type=click.Choice([MARGIN_CALL]), help="End once this has come.")
@click.option("--for", "seconds", type=click.FloatRange(0.1), help="End after so many seconds.")
@click.option("--after", type=click.IntRange(0), help="Begin behind this record instead of now.")
@_pass
@click.pass_context
def watch(context: click.Context, desk: Desk, wanted: str | None, seconds: float | None, after: int | None) -> None:
    """Print what happens to the account, as it happens.

    With --until margin-call it ends with exit code 0 once one has come, and with 1 where --for is over before.
    """
    watcher = Watcher(desk)
    accounts = (desk.account,)
    for message in desk.client.watch("calls", "events", accounts=accounts, after=after, seconds=seconds):
        watcher.take(message)
        if wanted and watcher.called:
            return
    context.exit(EXIT_NO if wanted else 0)


class Watcher:
    """Prints a stream's messages.

    Attributes
    ----------
    called : a margin call has come, or was there when the stream began
    """

    def __init__(self, desk: Desk) -> None:
        self.called = False
        self._told: OrderedDict[str, None] = OrderedDict()
        self._desk = desk
        self._asset = "" if desk.as_json else desk.asset

    def take(self, message: StreamMessage) -> None:
        """Print what a message tells. Calls come in both channels: ``calls`` begins with those that stand already."""
        from marginkeep.client.stream_messages import Delta, Resync

        if isinstance(message, Resync):
            click.echo(f"marginkeep: events after record {message.from_sequence} are lost to this stream", err=True)
        elif isinstance(message, Delta):
            self._tell(message)
        elif message.channel == "calls":
            self._tell_standing(message.rows)

    def _tell_standing(self, rows: Iterable[dict[str, Any]]) -> None:
        from marginkeep.cli.event_words import until

        for row in rows:
            self.called |= row["rung"] == "called" or bool(row["waits_for"])
            if self._desk.as_json:
                click.echo(_json({"standing": row}))
            else:
                click.echo(f"{row['account']} is {row['rung']}, {until(row['deadline_ns'])}")

    def _tell(self, message: Any) -> None:
        from marginkeep.cli.client_lines import clock_text, event_lines
        from marginkeep.client.events import MarginCalled

        for happened in message.events:
            if self._is_told(happened.id):
                continue
            event = happened.event
            self.called |= isinstance(event, MarginCalled)
            if self._desk.as_json:
                stated = {"id": happened.id, "recorded_ns": message.recorded_ns, "event": event.raw}
                click.echo(_json(stated))
                continue
            for line in event_lines(event, self._asset):
                click.echo(f"{clock_text(message.recorded_ns)}  {line}")

    def _is_told(self, identity: str) -> bool:
        """Tell whether an event has come before, in the other channel; remember it."""
        if identity in self._told:
            return True
        self._told[identity] = None
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return False


def _tell_command(desk: Desk, answer: Any) -> None:
    from marginkeep.cli.client_lines import answer_lines

    desk.tell(answer, lambda: answer_lines(answer, desk.asset))


def _price(at: tuple[str, ...]) -> str:
    """Return the price behind the word ``at``, which may be left out."""
    rest = at[1:] if at[:1] == (AT,) else at
    if len(rest) != 1:
        stated = f", not {' '.join(rest)!r}" if rest else ""
        raise click.UsageError(f"state one price{stated}: `buy 2 BTC-PERP at 50000`")
    return rest[0]


def _named_price(text: str) -> tuple[str, str]:
    name, mark, price = text.partition("=")
    if not name or not mark or not price:
        raise click.UsageError(f"{text!r} is no NAME=PRICE: give for example BTC-PERP=45000")
    return name, price


def _json(answer: Any) -> str:
    import msgspec

    return msgspec.json.encode(answer).decode()
