"""eSIM Go's API v2.5: catalogue, balance, orders and eSIMs.

An order there carries no key of ours and is not idempotent, so the errors say exactly what is known: refused,
never arrived, or perhaps done. Their schema promises no field, so every one is checked when it is read.
Source: https://docs.esim-go.com/api/v2_5/
"""

import base64
import csv
import hashlib
import hmac
import io
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from functools import cache
from itertools import count
from typing import Any, Literal, NoReturn, TypeVar
from urllib.parse import quote

import requests
from django.conf import settings
from django.utils import timezone
from urllib3.exceptions import NewConnectionError

from esimshop.clients.calls import OutsideCallError, recorded_call
from esimshop.clients.deadlines import deadline_session, sent_before, total_timeout
from esimshop.logs import redact

T = TypeVar("T")

CATALOGUE_PAGE_SIZE = 500
ORDERS_PAGE_SIZE = 100
ESIMS_PAGE_SIZE = 100
MOST_BUNDLES_ON_AN_ESIM = 200
LONGEST_ANSWER_BYTES = 32 * 1024 * 1024
LONGEST_MESSAGE = 300

# Reading all pages takes more tokens than one second has, so a full window is waited out, within reason.
PAGE_ATTEMPTS = 5
LONGEST_PAGE_WAIT_SECONDS = 10.0

# Beside 429 the answers to a purchase after which certainly nothing was bought.
CERTAIN_REFUSALS = frozenset({400, 401, 402, 403, 404, 410})
ACCOUNT_STATUSES = frozenset({401, 402, 403})
#: Words of an eSIM's profileStatus; the rest says nothing of phones.
NEVER_DOWNLOADED = frozenset({"released", "confirmed"})
EVER_DOWNLOADED = frozenset({"downloaded", "installed", "enabled", "disabled", "deleted", "error"})
ABOUT_OUR_ACCOUNT = re.compile(r"balance|funds|credit|api key|organi[sz]ation|spend", re.IGNORECASE)


class EsimGoError(OutsideCallError):
    """A call to eSIM Go failed; retry_after: seconds to leave them alone, if they said."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class EsimGoRejected(EsimGoError):
    """eSIM Go said no and nothing happened.

    status:           HTTP status; 403 is also what an unknown path or somebody else's eSIM gets.
    message:          their words; they have no error codes.
    is_account_level: about our key, address or balance, so every order would be refused; else this bundle.
    """

    outcome = "rejected"

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.is_account_level = status in ACCOUNT_STATUSES or bool(ABOUT_OUR_ACCOUNT.search(message))


class EsimGoUnreachable(EsimGoError):
    """It did not happen, or only would have read: try again, after retry_after seconds if given."""

    outcome = "unreachable"


class EsimGoOutcomeUnknown(EsimGoError):
    """The purchase, or the revocation, may have happened or not: look it up before anything is done again."""

    outcome = "outcome_unknown"


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What eSIM Go sells.

    area_code: ISO 3166 alpha-2 for a country, their own code (REUP, RGBL, …) for a region.
    area_region: Europe, Asia, …, in their words.
    countries: where it works, by their codes (mostly alpha-2), the base country first.
    data_mb:   decimal megabytes (1 GB = 1000 MB), None if unlimited; days: validity from first use.
    price_usd: in the organisation's currency, up to four decimal places.
    profile_name: operator profile; an eSIM can be topped up only with bundles of its own.
    """

    name: str
    description: str
    groups: tuple[str, ...]
    area_code: str
    area_name: str
    area_region: str
    countries: tuple[str, ...]
    data_mb: int | None
    days: int
    is_unlimited: bool
    is_autostart: bool
    speeds: tuple[str, ...]
    price_usd: Decimal
    profile_name: str


@dataclass(frozen=True, kw_only=True)
class CatalogueListing:
    """The whole catalogue; skipped has a line for each bundle that could not be understood.

    place_codes: the code of every country and area in it, by its name in their words.
    """

    bundles: tuple[Bundle, ...]
    place_codes: Mapping[str, str]
    skipped: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network on which bundles work; place: its country, by the name that bundles have it under, or by code."""

    place: str
    name: str
    speeds: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NetworkListing:
    """All networks of all countries; skipped has a line for each that could not be understood."""

    networks: tuple[Network, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Organisation:
    """Our account: what is left to spend (test credit included), in its currency."""

    name: str
    currency: str
    balance_usd: Decimal


@dataclass(frozen=True, kw_only=True)
class InstallData:
    """What a phone needs to download an eSIM; smdp_address is a bare host."""

    iccid: str
    smdp_address: str
    matching_id: str


@dataclass(frozen=True, kw_only=True)
class PlacedOrder:
    """An order as eSIM Go keeps it.

    status:    `completed`; anything else means not finished, never failed.
    item_type: bundle, bundleAssignment, topup, …; only bundle is a purchase of ours.
    esims:     may be empty although the order is completed: then see get_install_data.
    balance_usd: what was left afterwards, if they said.
    source_ip: the address that the purchase came from, if they said.
    retry_after: of place_order, seconds to leave them alone before the next call, if their answer said so.
    """

    reference: str
    status: str
    item_type: str
    bundle_name: str
    quantity: int
    iccids: tuple[str, ...]
    esims: tuple[InstallData, ...]
    total_usd: Decimal | None
    currency: str
    created_at: datetime | None
    balance_usd: Decimal | None
    source_ip: str
    retry_after: float | None = None


@dataclass(frozen=True, kw_only=True)
class OrderQuote:
    """What an order would cost now."""

    total_usd: Decimal
    currency: str


@dataclass(frozen=True, kw_only=True)
class EsimDetails:
    """An eSIM of ours; customer_ref is empty while nobody has claimed it.

    was_installed: whether a phone has, or had, its profile; None where they do not say.
    """

    iccid: str
    customer_ref: str
    profile_status: str
    was_installed: bool | None
    state: str
    profile_name: str
    install_data: InstallData | None


@dataclass(frozen=True, kw_only=True)
class EsimSummary:
    """An eSIM of ours as a list shows it; customer_ref is empty while nobody has claimed it."""

    iccid: str
    customer_ref: str
    state: str
    last_action: str
    assigned_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class BundleOnEsim:
    """A bundle that an eSIM has, or had.

    order_reference: of the order that put it there; empty if they do not say.
    state: processing (up to ten minutes), queued, active, depleted, expired, lapsed, revoked.
    initial_bytes, remaining_bytes: None if unlimited or not told.
    """

    bundle_name: str
    assignment_id: str
    order_reference: str
    state: str
    is_unlimited: bool
    initial_bytes: int | None
    remaining_bytes: int | None
    assigned_at: datetime | None
    starts_at: datetime | None
    ends_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Revocation:
    """What revoking a bundle did, or would do: gives it back (to balance or inventory), or only destroys it."""

    is_refunded: bool
    message: str


class EsimGoClient:
    """Our organisation at eSIM Go, within deadline_seconds a request in total.

    Raises: EsimGoRejected, EsimGoUnreachable, and from what is done once EsimGoOutcomeUnknown. Whatever is not
    understood counts as unreachable where a repeat does no harm. No error text contains the key.
    """

    def __init__(self, *, api_key: str, base_url: str, deadline_seconds: float = 30.0) -> None:
        self._api_key = api_key
        self._base_url = base_url
        self._deadline_seconds = deadline_seconds
        self._mine = threading.local()

    # Catalogue and account

    def list_bundles(self) -> CatalogueListing:
        """All pages of the catalogue; nonsense (nothing, rows that do not add up) counts as unreachable."""
        rows = list(self._pages("list_bundles", "/catalogue", "bundles", {"perPage": CATALOGUE_PAGE_SIZE}))
        bundles: dict[str, Bundle] = {}
        place_codes: dict[str, str] = {}
        skipped: list[str] = []
        for number, row in enumerate(rows, start=1):
            try:
                bundle = _bundle(row)
            except _Nonsense as error:
                name = row.get("name") if isinstance(row, dict) else None
                skipped.append(self._scrubbed(f"{str(name or f'row {number}')[:100]}: {error}"))
                continue
            if bundles.setdefault(bundle.name, bundle) != bundle:
                raise EsimGoUnreachable(f"nonsense: {bundle.name} is listed twice with different data")
            place_codes |= _place_codes(row)
        if not bundles:
            raise EsimGoUnreachable("nonsense: an empty catalogue")
        return CatalogueListing(bundles=tuple(bundles.values()), place_codes=place_codes, skipped=tuple(skipped))

    def list_networks(self) -> NetworkListing:
        """The networks of every country; nothing at all counts as unreachable."""
        listing = self._read("list_networks", "/networks", self._networks, {"returnAll": "true"})
        if not listing.networks:
            raise EsimGoUnreachable("nonsense: no network anywhere")
        return listing

    def _networks(self, answer: Any) -> NetworkListing:
        networks: list[Network] = []
        skipped: list[str] = []
        for number, country in enumerate(_objects(_object(answer).get("countryNetworks"), "countryNetworks"), start=1):
            what = f"country {number}"
            try:
                what = place = _text(country, "iso") or _text(country, "name", is_required=True)
                rows = _objects(country.get("networks"), "networks")
            except _Nonsense as error:
                skipped.append(self._scrubbed(f"networks of {what[:100]}: {error}"))
                continue
            for row in rows:
                try:
                    networks.append(_network(place, row))
                except _Nonsense as error:
                    skipped.append(self._scrubbed(f"a network of {place[:100]}: {error}"))
        return NetworkListing(networks=tuple(networks), skipped=tuple(skipped))

    def get_organisation(self) -> Organisation:
        """Our account with its balance. The answer also holds the key and staff's addresses: never log it."""
        return self._call("get_organisation", "GET", "/organisation", _organisation)

    # Orders

    def place_order(self, *, bundle_name: str, iccid: str | None = None, started_at: datetime) -> PlacedOrder:
        """Buy one bundle, on a new eSIM or on that of iccid; never repeated by itself.

        started_at: when the attempt was written down. The deadline counts from there, so that a process which
                    slept meanwhile sends nothing after others have begun to look the order up.
        Raises:     EsimGoRejected (nothing bought), EsimGoUnreachable (never arrived), EsimGoOutcomeUnknown.
        """
        deadline = started_at + timedelta(seconds=self._deadline_seconds)
        left = (deadline - timezone.now()).total_seconds()
        if left <= 0:
            raise EsimGoUnreachable("not sent: its deadline had passed before")
        with sent_before(deadline):
            placed, headers = self._exchange(
                "place_order",
                "POST",
                "/orders",
                _placed_order,
                body=_order_body("transaction", bundle_name, iccid),
                is_purchase=True,
                deadline_seconds=min(left, self._deadline_seconds),
            )
        return replace(placed, retry_after=_retry_after(headers))

    def validate_order(
        self, *, bundle_name: str, iccid: str | None = None, deadline_seconds: float | None = None
    ) -> OrderQuote:
        """Check an order and its price without buying; raises EsimGoRejected where place_order would.

        deadline_seconds: for a caller who cannot wait as long as the client usually does.
        """
        return self._call(
            "validate_order",
            "POST",
            "/orders",
            _order_quote,
            body=_order_body("validate", bundle_name, iccid),
            deadline_seconds=deadline_seconds,
        )

    def get_order(self, reference: str) -> PlacedOrder:
        """An order by its reference."""
        return self._call("get_order", "GET", f"/orders/{_segment(reference)}", _placed_order)

    def list_orders(self, *, created_from: datetime, created_to: datetime) -> list[PlacedOrder]:
        """All orders made between two moments (aware; rounded outwards to seconds), in no promised order."""
        rows = self._pages(
            "list_orders",
            "/orders",
            "orders",
            {
                "limit": ORDERS_PAGE_SIZE,
                "includeIccids": "true",
                "createdAt": [
                    f"gte:{_utc_seconds(created_from)}",
                    f"lte:{_utc_seconds(created_to + timedelta(seconds=1))}",
                ],
            },
        )
        try:
            orders = [_placed_order(row) for row in rows]
        except _Nonsense as error:
            # Not skipped: the row may be the very order that somebody is looking for.
            raise EsimGoUnreachable(f"nonsense: {error}") from None
        if len({order.reference for order in orders}) < len(orders):
            # The pages moved while they were read, and where one order came twice another is missing.
            raise EsimGoUnreachable("nonsense: an order is listed twice")
        return orders

    # eSIMs

    def get_install_data(self, reference: str) -> list[InstallData]:
        """The eSIMs of an order; empty while none is assigned (up to ten minutes).

        Raises: EsimGoRejected with status 410 once they are deleted.
        """
        return self._call(
            "get_install_data",
            "GET",
            "/esims/assignments",
            _install_data_list,
            params={"reference": reference},
            is_csv_possible=True,
        )

    def get_esim(self, iccid: str, *, deadline_seconds: float | None = None) -> EsimDetails:
        """One eSIM of ours; somebody else's is EsimGoRejected 403."""
        return self._call(
            "get_esim", "GET", f"/esims/{_segment(iccid)}", _esim_details, deadline_seconds=deadline_seconds
        )

    def set_customer_ref(self, *, iccid: str, reference: str) -> None:
        """Write our own id on an eSIM, so that one without it is known to have lost its order."""
        self._call("set_customer_ref", "PUT", "/esims", _object, body={"iccid": iccid, "customerRef": reference})

    def find_esims(self, customer_ref: str) -> list[EsimSummary]:
        """The eSIMs that bear exactly this id of ours."""
        # Their filter finds whatever contains the text.
        found = self._esims("find_esims", {"filterBy": "customerRef", "filter": customer_ref})
        return [esim for esim in found if esim.customer_ref == customer_ref]

    def list_esims(self, *, assigned_from: datetime | None = None) -> list[EsimSummary]:
        """All our eSIMs, or those assigned since a moment; one assigned during the reading may be missing."""
        since = (
            {}
            if assigned_from is None
            else {"filterBy": "assignedDate", "filter": f"gte:{_utc_seconds(assigned_from)}"}
        )
        found = self._esims("list_esims", since)
        return [esim for esim in found if not (assigned_from and esim.assigned_at and esim.assigned_at < assigned_from)]

    def is_compatible(self, *, iccid: str, bundle_name: str, deadline_seconds: float | None = None) -> bool:
        """Whether a bundle could be put on an eSIM of ours; another one would need a new eSIM."""
        return self._call(
            "is_compatible",
            "GET",
            f"/esims/{_segment(iccid)}/compatible/{_segment(bundle_name)}",
            _is_compatible,
            deadline_seconds=deadline_seconds,
        )

    def list_bundles_on(self, iccid: str, *, deadline_seconds: float | None = None) -> list[BundleOnEsim]:
        """What an eSIM has and had, used up and revoked bundles included."""
        return self._call(
            "list_bundles_on",
            "GET",
            f"/esims/{_segment(iccid)}/bundles",
            _bundles_on_esim,
            params={"includeUsed": "true", "limit": MOST_BUNDLES_ON_AN_ESIM},
            deadline_seconds=deadline_seconds,
        )

    def revoke_bundle(self, *, iccid: str, bundle_name: str, assignment_id: str, rehearse: bool) -> Revocation:
        """Take a bundle off an eSIM, its price back to our balance where they allow it; else the bundle is lost.

        rehearse: only ask what would happen.
        Raises:   EsimGoRejected (nothing to revoke: also when it was revoked before), EsimGoUnreachable, and
                  EsimGoOutcomeUnknown unless rehearsed: then list_bundles_on tells, and a repeat does no harm.
        """
        return self._call(
            "rehearse_revocation" if rehearse else "revoke_bundle",
            "DELETE",
            f"/esims/{_segment(iccid)}/bundles/{_segment(bundle_name)}/assignments/{_segment(assignment_id)}",
            _revocation,
            params={"type": "validate" if rehearse else "transaction", "refundToBalance": "true"},
            is_purchase=not rehearse,
        )

    def _esims(self, call: str, params: Mapping[str, Any]) -> list[EsimSummary]:
        rows = self._pages(call, "/esims", "esims", {"perPage": ESIMS_PAGE_SIZE, "orderBy": "iccid", **params})
        try:
            # By ICCID, since one that comes in between moves a row onto the next page as well.
            return list({esim.iccid: esim for esim in map(_esim_summary, rows)}.values())
        except _Nonsense as error:
            raise EsimGoUnreachable(f"nonsense: {error}") from None

    # How a call is made

    def _pages(self, call: str, path: str, key: str, params: Mapping[str, Any]) -> Iterator[Any]:
        """The rows of all pages of `{<key>: […], pageCount, rows}`, if they are as many as `rows` says."""
        seen = total = 0
        for page in count(1):
            found, page_count, total = self._page(call, path, key, {**params, "page": page})
            seen += len(found)
            yield from found
            if page >= page_count or not found:
                break
        if seen != total:
            raise EsimGoUnreachable(f"nonsense: {seen} {key} came of {total}")

    def _page(self, call: str, path: str, key: str, params: Mapping[str, Any]) -> tuple[list[Any], int, int]:
        return self._read(call, path, lambda answer: _page_of(answer, key), params)

    def _read(self, call: str, path: str, parse: Callable[[Any], T], params: Mapping[str, Any]) -> T:
        """One of many requests in a row: where they have used up the limit, it is waited out."""
        for attempt in range(1, PAGE_ATTEMPTS + 1):
            try:
                return self._call(call, "GET", path, parse, params=params)
            except EsimGoUnreachable as error:
                wait = error.retry_after
                if wait is None or wait > LONGEST_PAGE_WAIT_SECONDS or attempt == PAGE_ATTEMPTS:
                    raise
                time.sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _call(self, call: str, method: str, path: str, parse: Callable[[Any], T], **details: Any) -> T:
        """One request, and its answer read by parse; details as in _exchange."""
        return self._exchange(call, method, path, parse, **details)[0]

    def _exchange(
        self,
        call: str,
        method: str,
        path: str,
        parse: Callable[[Any], T],
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        is_purchase: bool = False,
        is_csv_possible: bool = False,
        deadline_seconds: float | None = None,
    ) -> tuple[T, Mapping[str, str]]:
        """One request: its answer read by parse, and its headers.

        is_purchase: a purchase, or its undoing: only a certain refusal counts as one, every doubt is an unknown
                     outcome.
        """
        doubt = EsimGoOutcomeUnknown if is_purchase else EsimGoUnreachable
        with recorded_call("esimgo", call) as told:
            told.request = {"method": method, "path": path, "params": params or {}, "body": body}
            try:
                # A purchase has a connection of its own: an old one may be closed by the other side at the
                # very moment it is used, and then nobody knows whether the order arrived.
                session = deadline_session() if is_purchase else nullcontext(self._session())
                with (
                    session as http,
                    http.request(
                        method,
                        f"{self._base_url}{path}",
                        params=dict(params or {}),
                        json=body,
                        headers={
                            "X-API-Key": self._api_key,
                            "Accept": "application/json",
                            "User-Agent": "esimshop",
                        },
                        stream=True,
                        timeout=total_timeout(deadline_seconds or self._deadline_seconds),
                        allow_redirects=False,
                    ) as response,
                ):
                    told.status = response.status_code
                    told.content = content = _content(response)
            except requests.RequestException as error:
                # "from None", because the cause carries the request and with it the key.
                reason = self._scrubbed(f"{type(error).__name__}: {_root(error)}")
                raise (EsimGoUnreachable if _never_arrived(error) else doubt)(reason) from None
            except _Nonsense as error:
                raise doubt(f"nonsense: {error}") from None
            if 200 <= response.status_code < 300:
                try:
                    return parse(_csv_or_json(content) if is_csv_possible else _json(content)), response.headers
                except _Nonsense as error:
                    raise doubt(self._scrubbed(f"nonsense: {error}")) from None
            raise self._refusal(response, content, is_purchase=is_purchase)

    def _refusal(self, response: requests.Response, content: bytes, *, is_purchase: bool) -> EsimGoError:
        status = response.status_code
        message = self._scrubbed(_message(content)) or response.reason or "no message"
        retry_after = _retry_after(response.headers)
        if status == 429:
            return EsimGoUnreachable(f"429: {message}", retry_after=1.0 if retry_after is None else retry_after)
        # eSIM Go speaks JSON: a page is some proxy's, and what stood behind the proxy may have bought.
        is_page_of_a_proxy = content.lstrip().startswith(b"<") and (is_purchase or status not in ACCOUNT_STATUSES)
        if status in CERTAIN_REFUSALS and not is_page_of_a_proxy:
            return EsimGoRejected(message, status=status)
        if is_purchase:
            return EsimGoOutcomeUnknown(f"{status}: {message}", retry_after=retry_after)
        return EsimGoUnreachable(f"{status}: {message}", retry_after=retry_after)

    def _scrubbed(self, text: str) -> str:
        return redact(text, self._api_key)[:LONGEST_MESSAGE]

    def _session(self) -> requests.Session:
        """The session of this thread; a forked child must not use the sockets of its parent."""
        if getattr(self._mine, "pid", None) != os.getpid():
            self._mine.pid = os.getpid()
            self._mine.session = deadline_session()
        session: requests.Session = self._mine.session
        return session


def esimgo_client() -> EsimGoClient:
    """The client of this process for the organisation of the settings."""
    return _client_of(settings.ESIMGO_API_KEY, settings.ESIMGO_BASE_URL, settings.ESIMGO_TIMEOUT)


@cache
def _client_of(api_key: str, base_url: str, deadline_seconds: float) -> EsimGoClient:
    return EsimGoClient(api_key=api_key, base_url=base_url, deadline_seconds=deadline_seconds)


# Reading their callbacks


@dataclass(frozen=True, kw_only=True)
class Callback:
    """A signed callback.

    kind:   alertType or event, for example Utilisation, FirstUse, LowBalance, esim.deleted.
    iccid:  of the eSIM that it is about; empty where it is about none, or is not readable.
    bundle: what a Utilisation or FirstUse tells, with the state that follows; None elsewhere.
    """

    kind: str
    iccid: str
    bundle: BundleOnEsim | None


def is_signed(content: bytes, signature: str, *, api_keys: Iterable[str]) -> bool:
    """Whether a callback's X-Signature-SHA256 was made with one of our keys, over its very bytes.

    Their documents disagree on its form, so base64 and hex are both taken.
    Source: https://docs.esim-go.com/guides/webhooks/
    """
    given = signature.strip().encode("latin-1", "replace")
    fits = False
    for key in filter(None, api_keys):
        digest = hmac.new(key.encode(), content, hashlib.sha256).digest()
        for form, candidate in ((given, base64.b64encode(digest)), (given.lower(), digest.hex().encode())):
            fits |= hmac.compare_digest(form, candidate)
    return fits


def read_callback(body: Mapping[str, Any]) -> Callback:
    """What a callback's JSON says. Raises: ValueError where it is none; details that make no sense are left out."""
    kind = body.get("alertType", body.get("event"))
    if not isinstance(kind, str) or not kind.strip():
        raise ValueError("neither alertType nor event")
    try:
        iccid = _iccid(body.get("iccid"))
    except _Nonsense:
        iccid = ""
    told = body.get("bundle")
    bundle = None
    # Minutes and messages have no place in a plan of data; their unit tells.
    if isinstance(told, dict) and str(told.get("unit") or "BYTES").upper() == "BYTES":
        row = {**told, "assignmentReference": told.get("reference"), "bundleState": "active"}
        try:
            bundle = _bundle_on_esim(_text(told, "name", is_required=True), row)
        except _Nonsense:
            bundle = None
    return Callback(kind=kind.strip()[:40], iccid=iccid, bundle=bundle)


# Reading their answers


class _Nonsense(ValueError):
    """An answer that makes no sense; the text says what, and quotes none of it."""


def _content(response: requests.Response) -> bytes:
    content = bytearray()
    for chunk in response.iter_content(64 * 1024):
        content += chunk
        if len(content) > LONGEST_ANSWER_BYTES:
            raise _Nonsense("an answer without end")
    return bytes(content)


def _json(content: bytes) -> Any:
    """JSON with exact numbers: prices as Decimal, ICCIDs as int."""
    try:
        return json.loads(content, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise _Nonsense("not JSON") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _csv_or_json(content: bytes) -> Any:
    """Assignments come as CSV from whatever ignores the Accept header; its rows get the names of the JSON."""
    text = content.decode("utf-8-sig", errors="replace")
    if not text.startswith("ICCID,"):
        return _json(content)
    return [
        {"iccid": row.get("ICCID"), "matchingId": row.get("Matching ID"), "smdpAddress": row.get("RSP URL")}
        for row in csv.DictReader(io.StringIO(text))
    ]


def _message(content: bytes) -> str:
    try:
        answer = _json(content)
    except _Nonsense:
        text = content.decode(errors="replace").strip()
        return "an HTML page" if text.startswith("<") else text[:LONGEST_MESSAGE]
    message = answer.get("message") if isinstance(answer, dict) else None
    return message if isinstance(message, str) else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: Retry-After (seconds or a date), else the moment when their rate limit starts anew."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,6}(\.\d+)?", value):
        return float(value)
    try:
        if value:
            moment = parsedate_to_datetime(value)
        elif headers.get("X-Ratelimit-Remaining", "").strip() == "0":
            moment = datetime.fromisoformat(headers.get("X-Ratelimit-Reset", ""))
        else:
            return None
    except ValueError:
        return None
    return max(0.0, (_aware(moment) - timezone.now()).total_seconds())


def _never_arrived(error: requests.RequestException) -> bool:
    """Whether nothing of the request was sent: no name, no connection, no TLS, no way through the proxy."""
    return isinstance(error, (requests.ConnectTimeout, requests.exceptions.ProxyError)) or isinstance(
        _root(error), NewConnectionError
    )


def _root(error: BaseException) -> object:
    """What lies under the wrapping of requests and urllib3."""
    inner: object = error.args[0] if error.args else error
    return getattr(inner, "reason", None) or inner


def _segment(value: str) -> str:
    return quote(value, safe="")


def _utc_seconds(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _order_body(kind: Literal["validate", "transaction"], bundle_name: str, iccid: str | None) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "bundle", "quantity": 1, "item": bundle_name}
    if iccid is not None:
        # Without allowReassign an eSIM that cannot take the bundle is refused instead of replaced.
        item |= {"iccids": [iccid], "allowReassign": False}
    return {"type": kind, "assign": True, "order": [item]}


def _object(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise _Nonsense("not an object")
    return answer


def _objects(value: Any, what: str) -> list[dict[str, Any]]:
    """A list of objects; a single object and null are taken as a list of one and of none."""
    rows = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(row, dict) for row in rows):
        raise _Nonsense(f"{what}: not objects")
    return rows


def _text(row: Mapping[str, Any], name: str, *, is_required: bool = False) -> str:
    value = row.get(name)
    if value is None:
        value = ""
    # A NUL and a lone surrogate are JSON, but no database stores them.
    if not isinstance(value, str) or "\0" in value or re.search("[\ud800-\udfff]", value):
        raise _Nonsense(f"{name}: not a text")
    if is_required and not value.strip():
        raise _Nonsense(f"{name}: missing")
    return value.strip()


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(_text({name: item}, name) for item in value)


def _number(value: Any, name: str) -> int:
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**31:
        raise _Nonsense(f"{name}: not a number")
    return value


def _money(value: Any, name: str) -> Decimal:
    """An exact amount; their numbers are sometimes texts."""
    try:
        amount = Decimal(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else value
    except InvalidOperation:
        amount = None
    if not isinstance(amount, Decimal) or not amount.is_finite() or abs(amount) >= 10**9:
        raise _Nonsense(f"{name}: not an amount")
    return amount


def _iccid(value: Any) -> str:
    # A float would have been rounded; a number with a point or an exponent has arrived here as Decimal.
    text = str(value).strip() if isinstance(value, (int, str)) else ""
    if not re.fullmatch(r"[0-9]{10,22}", text):
        raise _Nonsense("iccid: not one")
    return text


def _moment(value: Any, name: str) -> datetime:
    """An aware moment; nanoseconds are cut to microseconds."""
    try:
        return _aware(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        raise _Nonsense(f"{name}: not a time") from None


def _page_of(answer: Any, key: str) -> tuple[list[Any], int, int]:
    """The rows of a page, the number of pages, and the number of all rows."""
    answer = _object(answer)
    page_count, total = _number(answer.get("pageCount"), "pageCount"), _number(answer.get("rows"), "rows")
    rows = [] if answer.get(key) is None and total == 0 else answer.get(key)
    if not isinstance(rows, list):
        raise _Nonsense(f"{key}: not a list")
    return rows, page_count, total


def _place(row: Mapping[str, Any]) -> dict[str, Any]:
    """A country or area, which single bundles nest in `country`."""
    return _object(row["country"]) if "country" in row else dict(row)


def _bundle(row: Any) -> Bundle:
    row = _object(row)
    bases = [_place(place) for place in _objects(row.get("countries"), "countries")]
    if not bases:
        raise _Nonsense("countries: missing")
    base = bases[0]
    area_code = _text(base, "iso", is_required=True)
    covered = [_text(_place(place), "iso") for place in _objects(row.get("roamingEnabled"), "roamingEnabled")]
    # A region's own code is no country; it is left out wherever its countries are told.
    own = [_text(place, "iso") for place in bases]
    countries = own + covered if not covered or all(len(code) == 2 for code in own) else covered
    is_unlimited = row.get("unlimited") is True
    days = _number(row.get("duration"), "duration")
    price_usd = _money(row.get("price"), "price")
    if days <= 0 or price_usd <= 0:
        raise _Nonsense("duration or price: not above zero")
    return Bundle(
        name=_text(row, "name", is_required=True),
        description=_text(row, "description"),
        groups=_texts(row.get("groups", row.get("group")), "groups"),
        area_code=area_code,
        area_name=_text(base, "name", is_required=True),
        area_region=_text(base, "region"),
        countries=tuple(dict.fromkeys(code for code in countries if code)),
        data_mb=None if is_unlimited else _data_mb(row),
        days=days,
        is_unlimited=is_unlimited,
        is_autostart=row.get("autostart") is True,
        speeds=_speeds(row),
        price_usd=price_usd,
        profile_name=_text(row, "profileName"),
    )


def _place_codes(row: Mapping[str, Any]) -> dict[str, str]:
    """Code by name of the places of a bundle that was understood."""
    rows = [*_objects(row.get("countries"), "countries"), *_objects(row.get("roamingEnabled"), "roamingEnabled")]
    return {_text(place, "name"): _text(place, "iso") for place in map(_place, rows)}


def _network(place: str, row: Mapping[str, Any]) -> Network:
    name = _text(row, "brandName") or _text(row, "name", is_required=True)
    return Network(place=place, name=name, speeds=_speeds(row))


def _speeds(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Their pages call it speed or speeds, and some nest the one in the other."""
    speed = row.get("speeds") or row.get("speed")
    return _texts(speed.get("speeds") if isinstance(speed, dict) else speed, "speed")


def _data_mb(row: Mapping[str, Any]) -> int:
    """The flat amount or, since that is deprecated, the allowance of data."""
    amount = row.get("dataAmount")
    if amount is None:
        allowances = _objects(row.get("allowances"), "allowances")
        amount = next((each.get("amount") for each in allowances if each.get("type") == "DATA"), None)
    data_mb = _number(amount, "dataAmount")
    if data_mb <= 0:
        raise _Nonsense("dataAmount: not above zero")
    return data_mb


def _organisation(answer: Any) -> Organisation:
    """Seen flat, under `organisation` and as the first of `organisations`."""
    answer = _object(answer)
    found = _objects(answer.get("organisations", answer.get("organisation", answer)), "organisation")
    if not found:
        raise _Nonsense("organisation: missing")
    return Organisation(
        name=_text(found[0], "name"),
        currency=_text(found[0], "currency", is_required=True),
        balance_usd=_money(found[0].get("balance"), "balance"),
    )


def _placed_order(answer: Any) -> PlacedOrder:
    answer = _object(answer)
    items = _objects(answer.get("order"), "order")
    item = next((each for each in items if each.get("type") == "bundle"), items[0] if items else {})
    esims = _objects(item.get("esims"), "esims")
    iccids = [_iccid(value) for value in (*(item.get("iccids") or ()), *(esim.get("iccid") for esim in esims))]
    total, balance = answer.get("total"), answer.get("runningBalance")
    created = answer.get("createdDate", answer.get("createDate"))
    return PlacedOrder(
        reference=_text(answer, "orderReference", is_required=True),
        status=_text(answer, "status"),
        item_type=_text(item, "type"),
        bundle_name=_text(item, "item"),
        quantity=_number(item.get("quantity", 0), "quantity"),
        iccids=tuple(dict.fromkeys(iccids)),
        esims=tuple(data for data in map(_install_data, esims) if data is not None),
        total_usd=None if total is None else _money(total, "total"),
        currency=_text(answer, "currency"),
        created_at=None if created is None else _moment(created, "createdDate"),
        balance_usd=None if balance is None else _money(balance, "runningBalance"),
        source_ip=_text(answer, "sourceIP"),
    )


def _order_quote(answer: Any) -> OrderQuote:
    answer = _object(answer)
    if answer.get("valid") is not True:
        raise EsimGoRejected("not a valid order", status=200)
    return OrderQuote(total_usd=_money(answer.get("total"), "total"), currency=_text(answer, "currency"))


def _install_data(row: Mapping[str, Any]) -> InstallData | None:
    """None while the eSIM has no address or matching id yet."""
    address = re.sub(r"^[a-z]+://", "", _text(row, "smdpAddress"), flags=re.IGNORECASE).rstrip("/")
    matching_id = _text(row, "matchingId")
    if not address or not matching_id:
        return None
    return InstallData(iccid=_iccid(row.get("iccid")), smdp_address=address, matching_id=matching_id)


def _install_data_list(answer: Any) -> list[InstallData]:
    """An object, a list, or either under `esims`."""
    if isinstance(answer, dict) and "esims" in answer:
        answer = answer["esims"]
    return [data for data in map(_install_data, _objects(answer, "assignments")) if data is not None]


def _esim_details(answer: Any) -> EsimDetails:
    answer = _object(answer)
    return EsimDetails(
        iccid=_iccid(answer.get("iccid")),
        customer_ref=_text(answer, "customerRef"),
        profile_status=_text(answer, "profileStatus"),
        was_installed=_was_installed(answer),
        state=_text(answer, "state"),
        profile_name=_text(answer, "profileName"),
        install_data=_install_data(answer),
    )


def _was_installed(answer: dict[str, Any]) -> bool | None:
    # Once deleted from a phone a profile is "Released" again, but keeps the time of its first installation.
    if answer.get("firstInstalledDateTime"):
        return True
    status = _text(answer, "profileStatus").lower()
    return False if status in NEVER_DOWNLOADED else (True if status in EVER_DOWNLOADED else None)


def _esim_summary(row: Any) -> EsimSummary:
    row = _object(row)
    return EsimSummary(
        iccid=_iccid(row.get("iccid")),
        customer_ref=_text(row, "customerRef"),
        state=_text(row, "state"),
        last_action=_text(row, "lastAction"),
        assigned_at=_moment_if_told(row, "assignedDate"),
    )


def _is_compatible(answer: Any) -> bool:
    fits = _object(answer).get("compatible")
    if not isinstance(fits, bool):
        raise _Nonsense("compatible: not a yes or no")
    return fits


def _bundles_on_esim(answer: Any) -> list[BundleOnEsim]:
    return [
        _bundle_on_esim(_text(bundle, "name", is_required=True), assignment)
        for bundle in _objects(_object(answer).get("bundles"), "bundles")
        for assignment in _objects(bundle.get("assignments"), "assignments")
    ]


def _bundle_on_esim(bundle_name: str, row: dict[str, Any]) -> BundleOnEsim:
    identifier = row.get("id")
    is_unlimited = row.get("unlimited") is True
    return BundleOnEsim(
        bundle_name=bundle_name,
        assignment_id=str(identifier) if isinstance(identifier, int) else _text(row, "id", is_required=True),
        # "<order reference>-<number of the eSIM in it>"
        order_reference=re.sub(r"-\d{1,4}$", "", _text(row, "assignmentReference")),
        state=_text(row, "bundleState").lower(),
        is_unlimited=is_unlimited,
        initial_bytes=None if is_unlimited else _bytes_if_told(row, "initialQuantity"),
        remaining_bytes=None if is_unlimited else _bytes_if_told(row, "remainingQuantity"),
        assigned_at=_moment_if_told(row, "assignmentDateTime"),
        starts_at=_moment_if_told(row, "startTime"),
        ends_at=_moment_if_told(row, "endTime"),
    )


def _bytes_if_told(row: Mapping[str, Any], name: str) -> int | None:
    value = row.get(name)
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(value)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise _Nonsense(f"{name}: not an amount of data")
    return value


def _moment_if_told(row: Mapping[str, Any], name: str) -> datetime | None:
    return _moment(row[name], name) if row.get(name) else None


def _revocation(answer: Any) -> Revocation:
    message = _text(_object(answer), "status", is_required=True)
    # Only their words tell a bundle given back from one destroyed.
    is_refunded = re.search(r"refunded to (?:the |your )?(?:balance|inventory)", message, re.IGNORECASE)
    is_denied = re.search(r"\b(?:not|cannot|no)\b|n't", message, re.IGNORECASE)
    return Revocation(is_refunded=bool(is_refunded and not is_denied), message=message[:LONGEST_MESSAGE])
