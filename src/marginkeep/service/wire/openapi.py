"""The OpenAPI 3.1 document: what Litestar knows of the routes, completed by what they state of bodies and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from marginkeep import __version__
from marginkeep.client.signing import IDEMPOTENCY, KEY, NONCE, SIGNATURE, TIMESTAMP
from marginkeep.errors import InvariantViolation
from marginkeep.oracle.price_seen import PriceSeen
from marginkeep.service.wire.commands import WireCommand
from marginkeep.service.wire.event_schemas import SHAPES, AnyEvent
from marginkeep.service.wire.problems import PROBLEM_TYPE, PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REFERENCE: Final = "#/components/schemas/{name}"
SECURITY: Final = "signed"
TEXT_MAX: Final = 128

Numbers = dict[str, str | int]
Prices: Any = list.__class_getitem__(SHAPES[PriceSeen])


class CommandAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A command was done and is durable.

    Attributes
    ----------
    sequence : its record in the journal
    repeated : the idempotency key was known, and this is the recorded answer
    events : what it caused, as far as the key may see it
    """

    sequence: int
    recorded_ns: int
    repeated: bool
    events: list[AnyEvent]


class CheckAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an order would be answered.

    Attributes
    ----------
    sequence : the last record that the answer takes in
    free : initial health that would remain, in whole units of the reporting asset; of an order that would pass
    reason, refusal, numbers, prices : of one that would not
    """

    status: Literal["accepted", "rejected"]
    sequence: int | msgspec.UnsetType = msgspec.UNSET
    free: str | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET
    refusal: str | msgspec.UnsetType = msgspec.UNSET
    numbers: Numbers | msgspec.UnsetType = msgspec.UNSET
    prices: Prices | msgspec.UnsetType = msgspec.UNSET


class CheckBatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What each order would be answered, in their order."""

    results: list[CheckAnswer]


class BatchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one command of a batch was answered; see `CommandAnswer` and the problem document."""

    status: Literal["accepted", "rejected", "key_reused"]
    sequence: int | msgspec.UnsetType = msgspec.UNSET
    recorded_ns: int | msgspec.UnsetType = msgspec.UNSET
    repeated: bool | msgspec.UnsetType = msgspec.UNSET
    events: list[AnyEvent] | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET
    refusal: str | msgspec.UnsetType = msgspec.UNSET
    numbers: Numbers | msgspec.UnsetType = msgspec.UNSET
    prices: Prices | msgspec.UnsetType = msgspec.UNSET


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the commands of a batch were answered, in their order."""

    results: list[BatchResult]


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was not done (RFC 9457), with members that belong to its code.

    Attributes
    ----------
    code : stable; ``rejected`` is the clearinghouse's, with its own code in `refusal`
    """

    type: str
    title: str
    status: int
    code: Annotated[str, Meta(examples=sorted(PROBLEMS))]
    detail: str
    refusal: str | msgspec.UnsetType = msgspec.UNSET
    numbers: Numbers | msgspec.UnsetType = msgspec.UNSET


def documented(*, answer: Any, body: Any = None) -> dict[str, Any]:
    """Return what a route states in its `opt` for this document, where it reads and answers bytes itself."""
    return {"body": body, "answer": answer}


def build_document(routes: Sequence[Any], page_max: int) -> bytes:
    """Return the document of some routes, as JSON.

    Parameters
    ----------
    page_max : rows that a page may have
    """
    from litestar import Litestar
    from litestar.openapi import OpenAPIConfig

    config = OpenAPIConfig(
        title="Marginkeep",
        version=__version__,
        description="Margin, liquidation and clearing. Amounts, prices and rates are decimal strings in whole units.",
        use_handler_docstrings=True,
    )
    app = Litestar(route_handlers=list(routes), openapi_config=config)
    document = app.openapi_schema.to_schema()
    operations = [(document["paths"][path][method], opt) for path, method, opt in _operations(app, document)]
    stated = [kind for _, opt in operations for kind in (opt.get("body"), opt.get("answer")) if kind is not None]
    kinds = list({id(kind): kind for kind in (*stated, ProblemDocument)}.values())
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    by_kind = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, WireCommand):
            by_kind[id(kind)] = _untagged(components, kind.__name__)
    _untag_checks(components)
    _add_components(document, components)
    for operation, opt in operations:
        _complete(operation, opt, by_kind)
        _bound_pages(operation, page_max)
    return msgspec.json.encode(document)


def _operations(app: Any, document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and `opt` of every operation in the document."""
    for route in app.routes:
        path = str(getattr(route, "path_format", ""))
        if path not in document["paths"]:
            continue
        for method, (handler, _) in route.route_handler_map.items():
            if method.lower() in document["paths"][path]:
                yield path, method.lower(), handler.opt


def _add_components(document: dict[str, Any], components: dict[str, Any]) -> None:
    present = document.setdefault("components", {}).setdefault("schemas", {})
    clash = [name for name in components if name in present and present[name] != components[name]]
    if clash:
        raise InvariantViolation(f"two schemas are called {', '.join(clash)}: rename one of the structs")
    present.update(components)
    document["components"]["securitySchemes"] = {SECURITY: _SECURITY_SCHEME}


_SECURITY_SCHEME: Final = {
    "type": "apiKey",
    "in": "header",
    "name": KEY,
    "description": (
        f"The key's id, with {TIMESTAMP}, {NONCE} and {SIGNATURE}: an Ed25519 or HMAC-SHA256 signature over key, "
        f"method, path and query, time, nonce, body, idempotency key and window."
    ),
}


def _untagged(components: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a reference to a command's schema as its own route reads it: the path says already which command it is."""
    schema = components[name]
    required = [field for field in schema["required"] if field != "type"]
    components[f"{name}Body"] = {**schema, "title": f"{name}Body", "required": required}
    return {"$ref": REFERENCE.format(name=f"{name}Body")}


def _untag_checks(components: dict[str, Any]) -> None:
    """State that the orders of a batch of checks need not say that they are orders."""
    batch = components.get("CheckBatch")
    if batch is not None:
        batch["properties"]["orders"]["items"] = _untagged(components, "ReserveOrder")


def _bound_pages(operation: dict[str, Any], page_max: int) -> None:
    """State the bounds of numbers in queries and paths, which the handlers check: rows of a page, and sequences."""
    for one in operation.get("parameters", ()):
        if one["name"] == "limit":
            one["schema"] = {**one["schema"], "minimum": 1, "maximum": page_max}
        elif one["schema"].get("type") == "integer":
            one["schema"] = {**one["schema"], "minimum": 0}


def _complete(operation: dict[str, Any], opt: dict[str, Any], by_kind: dict[int, Any]) -> None:
    """State what Litestar cannot know: body, answer, problems, scope and headers of one operation."""
    if opt.get("body") is not None:
        operation["requestBody"] = {"required": True, "content": _json(by_kind[id(opt["body"])])}
    if opt.get("answer") is not None:
        status = next((code for code in operation.get("responses", {}) if code[0] == "2"), "200")
        operation["responses"] = {status: {"description": "Done", "content": _json(by_kind[id(opt["answer"])])}}
    problem = {"content": {PROBLEM_TYPE: {"schema": by_kind[id(ProblemDocument)]}}}
    responses = {code: one for code, one in operation.get("responses", {}).items() if code[0] not in "45"}
    operation["responses"] = {
        **responses,
        "4XX": {"description": "The request is refused", **problem},
        "5XX": {"description": "The service cannot do it now", **problem},
    }
    if opt.get("mutates"):
        operation.setdefault("parameters", []).extend(_COMMAND_HEADERS)
    scope = opt.get("scope")
    operation["security"] = [] if scope is None else [{SECURITY: []}]
    if scope is not None:
        venue = " The key must act for every account." if opt.get("venue_only") else ""
        operation["description"] = f"{operation.get('description') or ''}\n\nScope: `{scope}`.{venue}".strip()


PRINTABLE: Final = "^[!-~]([ -~]*[!-~])?$"
PRINTABLE_OR_EMPTY: Final = "^([!-~]([ -~]*[!-~])?)?$"
"""Headers are printable ASCII, and spaces at their ends are lost on the way."""

_COMMAND_HEADERS: Final = (
    {
        "name": IDEMPOTENCY,
        "in": "header",
        "required": True,
        "description": "A text of your own, new for each command: a retry with it is answered what was recorded.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": TEXT_MAX,
            "pattern": PRINTABLE,
            "examples": ["c0ffee-1"],
        },
    },
    {
        "name": "Correlation-Id",
        "in": "header",
        "required": False,
        "description": "What the command belongs to; kept with its record.",
        "schema": {"type": "string", "maxLength": TEXT_MAX, "pattern": PRINTABLE_OR_EMPTY},
    },
)


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
