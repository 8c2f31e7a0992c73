"""eSIM Go's API v2.5 as the shop uses it, its known quirks included."""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import io
import math
import operator
import secrets
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from esimshop.sandbox.exchange import Json, Request, Response, Routes, encode
from esimshop.sandbox.rate_sheet import GROUPS, Catalogue
from esimshop.sandbox.state import State

_TOKENS_A_SECOND = 10
_SMDP_ADDRESS = "rsp.sandbox.example"
_FORBIDDEN = Response.json({"message": "Forbidden"}, 403)


class EsimGoError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class EsimGo:
    def __init__(self, state: State, catalogue: Catalogue, api_key: str) -> None:
        self._state = state
        self._catalogue = catalogue
        self._api_key = api_key
        self._window = (0, 0)
        self.routes = Routes(
            [
                ("GET", "/catalogue", self._list_catalogue),
                ("GET", "/catalogue/bundle/{name}", self._get_bundle),
                ("GET", "/organisation", self._get_organisation),
                ("GET", "/organisation/groups", self._list_groups),
                ("GET", "/networks", self._list_networks),
                ("POST", "/orders", self._place_order),
                ("GET", "/orders", self._list_orders),
                ("GET", "/orders/{reference}", self._get_order),
                ("GET", "/esims", self._list_esims),
                ("PUT", "/esims", self._update_esim),
                ("GET", "/esims/assignments", self._list_assignments),
                ("GET", "/esims/{iccid}", self._get_esim),
                ("GET", "/esims/{iccid}/history", self._get_history),
                ("GET", "/esims/{iccid}/compatible/{bundle}", self._is_compatible),
                ("GET", "/esims/{iccid}/bundles", self._list_esim_bundles),
                ("GET", "/esims/{iccid}/bundles/{name}", self._get_esim_bundle),
                ("DELETE", "/esims/{iccid}/bundles/{name}", self._revoke_bundle),
                (
                    "DELETE",
                    "/esims/{iccid}/bundles/{name}/assignments/{assignment}",
                    self._revoke_bundle,
                ),
            ]
        )

    def name_of(self, request: Request, path: str) -> str:
        """Name of the call for faults and the log, "POST /orders"; the path if there is no such call.

        A rehearsal is "POST /orders validate", so that a fault can be meant for the purchase alone.
        """
        found = self.routes.find(request.method, path)
        name = found[0] if found else f"{request.method} {path}"
        return f"{name} validate" if name == "POST /orders" and _is_rehearsal(request) else name

    def handle(self, request: Request, path: str) -> Response:
        """Answer a call; path is what follows the base URL."""
        limits, is_over = self._take_token()
        if is_over:
            return Response.json({"message": "Rate limit exceeded"}, 429, {**limits, "Retry-After": "1"})
        key = request.headers.get("x-api-key", "")
        found = self.routes.find(request.method, path)
        # A wrong path is answered like a wrong key.
        if not hmac.compare_digest(key.encode(), self._api_key.encode()) or found is None:
            return Response(_FORBIDDEN.status, _FORBIDDEN.body, headers=limits)
        _, handler, arguments = found
        try:
            with self._state.lock:
                answer = handler(request, **arguments)
        except EsimGoError as error:
            answer = Response.json({"message": error.message}, error.status)
        return Response(answer.status, answer.body, answer.content_type, {**answer.headers, **limits})

    def _take_token(self) -> tuple[dict[str, str], bool]:
        with self._state.lock:
            second = int(time.time())
            used = (self._window[1] if self._window[0] == second else 0) + 1
            self._window = (second, used)
        if not self._state.settings["rate_limit"]:
            used = 1  # as if each call were the first of its second
        reset = datetime.fromtimestamp(second + 1, UTC)
        headers = {
            "X-Ratelimit-Limit": str(_TOKENS_A_SECOND),
            "X-Ratelimit-Remaining": str(max(_TOKENS_A_SECOND - used, 0)),
            "X-Ratelimit-Reset": f"{reset:%Y-%m-%dT%H:%M:%SZ}",
            "X-Ratelimit-Cost": "1",
        }
        return headers, used > _TOKENS_A_SECOND

    # Catalogue and organisation

    def bundle(self, name: str) -> Json | None:
        """A bundle as sold now: with changed price and profile, and None if unknown or withdrawn."""
        bundle = self._catalogue.bundles.get(name)
        override = self._state.overrides.get(name, {})
        if bundle is None or override.get("withdrawn"):
            return None
        return {**bundle, **{field: override[field] for field in ("price", "profileName") if field in override}}

    def change_bundle(
        self, name: str, *, price: Decimal | None, withdrawn: bool | None, profile: str | None = None
    ) -> Json:
        """Change price, availability or operator profile; returns all that is changed. Raises KeyError for an unknown
        bundle.
        """
        self._catalogue.bundles[name]
        override: Json = self._state.overrides.setdefault(name, {})
        changes = {"price": price, "withdrawn": withdrawn, "profileName": profile}
        override |= {field: value for field, value in changes.items() if value is not None}
        return override

    def _list_catalogue(self, request: Request) -> Response:
        bundles = [bundle for name in self._catalogue.bundles if (bundle := self.bundle(name))]
        if wanted := request.one("group"):
            bundles = [bundle for bundle in bundles if wanted in bundle["groups"]]
        if wanted := request.one("countries"):
            codes = {code.strip().upper() for code in wanted.split(",")}
            bundles = [bundle for bundle in bundles if bundle["countries"][0]["iso"] in codes]
        if wanted := request.one("region"):
            bundles = [bundle for bundle in bundles if bundle["countries"][0]["region"] == wanted]
        if wanted := request.one("description"):
            bundles = [bundle for bundle in bundles if wanted.lower() in bundle["description"].lower()]
        field = {"bundleName": "name", "dataAmount": "dataAmount", "duration": "duration"}.get(request.one("orderBy"))
        if field:
            bundles.sort(key=lambda bundle: bundle[field], reverse=request.one("direction") == "desc")
        return Response.json(_page(request, "bundles", bundles, size_name="perPage", most=1000))

    def _get_bundle(self, request: Request, name: str) -> Response:
        bundle = self.bundle(name)
        if bundle is None:
            raise EsimGoError(400, "bundle not found")
        networks = _networks(bundle["countries"][0]["iso"])
        return Response.json(
            {
                **bundle,
                "group": bundle["groups"],
                "countries": [{"country": country, "networks": networks} for country in bundle["countries"]],
                "roamingEnabled": [
                    {"country": country, "networks": _networks(country["iso"])} for country in bundle["roamingEnabled"]
                ],
                "speed": {"speeds": bundle["speed"]},
            }
        )

    def _get_organisation(self, request: Request) -> Response:
        organisation = {
            "name": "Sandbox Travel Ltd",
            "apiKey": self._api_key,
            "taxLiable": "Yes",
            "addr1": "1 Example Street",
            "city": "London",
            "country": "United Kingdom",
            "postcode": "EX1 1EX",
            "callbackUrl": "",
            "notes": "",
            "groups": list(GROUPS),
            "currency": "USD",
            "balance": self._state.balance_usd,
            "testCredit": 0,
            "businessType": "Travel",
            "website": "",
            "productDescription": "",
            "users": [
                {
                    "firstName": "Sam",
                    "lastName": "Sandbox",
                    "role": "Owner",
                    "emailAddress": "owner@sandbox.example",
                    "phoneNumber": "",
                    "timeZone": "Europe/London",
                }
            ],
        }
        return Response.json({"organisations": [organisation]})

    def _list_groups(self, request: Request) -> Response:
        groups = [{"name": name, "desc": text, "priceListUrl": "", "icon": ""} for name, text in GROUPS.items()]
        return Response.json({"groups": groups})

    def _list_networks(self, request: Request) -> Response:
        names: dict[str, str] = {}
        for bundle in self._catalogue.bundles.values():
            for country in bundle["roamingEnabled"]:
                names[country["iso"]] = country["name"]
        isos = {code for code in request.one("isos").upper().split(",") if code}
        countries = {name.strip() for name in request.one("countries").split(",") if name.strip()}
        if request.one("returnAll") != "true":
            names = {iso: name for iso, name in names.items() if iso in isos or name in countries or iso in countries}
        found = [{"name": name, "networks": _networks(iso)} for iso, name in sorted(names.items())]
        return Response.json({"countryNetworks": found})

    # Orders

    def _place_order(self, request: Request) -> Response:
        body = _read_body(request)
        kind, assign = body.get("type"), body.get("assign", False)
        items = body.get("order")
        if kind not in {"validate", "transaction"} or not isinstance(items, list) or not items:
            raise EsimGoError(400, "invalid order request")
        lines = [self._priced_line(item, assign=assign) for item in items]
        total = sum((line["subTotal"] for line in lines), Decimal(0))
        if total > self._state.balance_usd:
            raise EsimGoError(400, "insufficient balance")
        answer: Json = {"order": lines, "total": total, "currency": "USD"}
        if kind == "validate":
            for line in lines:
                line.pop("iccids")
            return Response.json({**answer, "valid": True, "createdDate": _now(), "assigned": assign})
        reference = str(uuid.uuid4())
        assigned = 0
        if assign:
            for line in lines:
                line["esims"] = [
                    self._assign(line, iccid, reference) for iccid in line["iccids"] or [""] * line["quantity"]
                ]
                line["iccids"] = [esim["iccid"] for esim in line["esims"]]
                assigned += len(line["esims"])
        self._state.balance_usd -= total
        answer |= {
            "status": "completed",
            "statusMessage": f"Order completed: {assigned} eSIMs assigned",
            "orderReference": reference,
            "createdDate": _now(),
            "assigned": assign,
            "sourceIP": request.client_address,
            "runningBalance": self._state.balance_usd,
        }
        self._state.orders[reference] = answer
        self._state.touch()
        return Response.json(self._shown_order(answer))

    def _priced_line(self, item: object, *, assign: bool) -> Json:
        if not isinstance(item, dict) or item.get("type") != "bundle":
            raise EsimGoError(400, "invalid order item")
        quantity, name = item.get("quantity"), item.get("item")
        if not isinstance(quantity, int) or isinstance(quantity, bool) or quantity < 1:
            raise EsimGoError(400, "invalid quantity")
        bundle = self.bundle(str(name))
        if bundle is None:
            raise EsimGoError(400, f"bundle {name} not found")
        iccids = [str(iccid) for iccid in item.get("iccids") or [] if iccid]
        if iccids and not assign:
            raise EsimGoError(400, "iccids can only be given when assign is true")
        if iccids and len(iccids) != quantity:
            raise EsimGoError(400, "quantity must match the number of iccids")
        allow_reassign = bool(item.get("allowreassign", False))
        for iccid in iccids:
            esim = self._esim(iccid)
            if esim["state"] == "deactivated":
                raise EsimGoError(400, "esim is deactivated")
            if esim["profileName"] != bundle["profileName"] and not allow_reassign:
                raise EsimGoError(400, "bundle is not compatible with the esim")
        return {
            "type": "bundle",
            "item": name,
            "iccids": iccids,
            "quantity": quantity,
            "subTotal": bundle["price"] * quantity,
            "pricePerUnit": bundle["price"],
            "AllowReassign": allow_reassign,
        }

    def _assign(self, line: Json, iccid: str, reference: str) -> Json:
        bundle = self.bundle(line["item"])
        assert bundle is not None
        esim = self._state.esims.get(iccid)
        if esim is None or esim["profileName"] != bundle["profileName"]:
            esim = self._new_esim(bundle["profileName"])
        index = sum(
            1 for each in self._state.esims.values() for one in each["assignments"] if one["order"] == reference
        )
        quantity = -1 if bundle["unlimited"] else bundle["dataAmount"] * 1_000_000
        esim["assignments"].append(
            {
                "order": reference,
                "bundle": bundle["name"],
                "description": bundle["description"],
                "duration": bundle["duration"],
                "fields": {
                    "id": str(secrets.randbelow(90_000_000) + 10_000_000),
                    "callTypeGroup": "data",
                    "initialQuantity": quantity,
                    "remainingQuantity": quantity,
                    "assignmentDateTime": _now(),
                    "assignmentReference": f"{reference}-{index}",
                    "bundleState": "queued",
                    "unlimited": bundle["unlimited"],
                    "allowances": bundle["allowances"],
                },
            }
        )
        self._note(esim, "Bundle Applied", bundle=bundle["name"], bundleState="queued")
        return {name: esim[name] for name in ("iccid", "matchingId", "smdpAddress")}

    def _new_esim(self, profile_name: str) -> Json:
        iccid = _new_iccid()
        esim: Json = {
            "iccid": iccid,
            "pin": f"{secrets.randbelow(10_000):04}",
            "puk": f"{secrets.randbelow(10**8):08}",
            "matchingId": "-".join(["SBX", *(secrets.token_hex(3).upper() for _ in range(3))]),
            "smdpAddress": _SMDP_ADDRESS,
            "profileStatus": "Released",
            "firstInstalledDateTime": 0,
            "customerRef": "",
            "profileName": profile_name,
            "state": "active",
            "assignedDate": _now(),
            "assignments": [],
            "history": [],
            "lastAction": "",
            "actionDate": "",
        }
        self._state.esims[iccid] = esim
        return esim

    def _shown_order(self, order: Json) -> Json:
        if self._state.settings["esims_in_order"]:
            return order
        lines = [{name: value for name, value in line.items() if name != "esims"} for line in order["order"]]
        return {**order, "order": lines}

    def _list_orders(self, request: Request) -> Response:
        orders = list(reversed(self._state.orders.values()))
        for limit in request.query.get("createdAt", []):
            is_within = _time_filter("createdAt", limit)
            orders = [order for order in orders if is_within(order["createdDate"])]
        shown = [self._shown_order(order) for order in orders]
        return Response.json(_page(request, "orders", shown, size_name="limit", most=200))

    def _get_order(self, request: Request, reference: str) -> Response:
        if reference not in self._state.orders:
            raise EsimGoError(400, "order not found")
        return Response.json(self._shown_order(self._state.orders[reference]))

    # eSIMs

    def _list_esims(self, request: Request) -> Response:
        esims = list(self._state.esims.values())
        field, wanted = request.one("filterBy"), request.one("filter")
        if field in {"iccid", "customerRef", "lastAction"} and wanted:
            esims = [esim for esim in esims if wanted in esim[field]]
        if field in {"actionDate", "assignedDate"} and wanted:
            is_within = _time_filter(field, wanted)
            esims = [esim for esim in esims if is_within(esim[field])]
        if request.one("orderBy") == "iccid":
            esims.sort(key=lambda esim: esim["iccid"])
        names = ("iccid", "customerRef", "lastAction", "actionDate", "assignedDate", "state")
        shown = [{**{name: esim[name] for name in names}, "physical": False} for esim in esims]
        return Response.json(_page(request, "esims", shown, size_name="perPage", most=100))

    def _get_esim(self, request: Request, iccid: str) -> Response:
        esim = self._esim(iccid)
        shown = self._install_data(esim, request)
        shown |= {name: esim[name] for name in ("customerRef", "profileName", "state")}
        return Response.json({**shown, "brandingId": "(default)", "msisdn": ""})

    def _install_data(self, esim: Json, request: Request) -> Json:
        names = (
            "iccid",
            "pin",
            "puk",
            "matchingId",
            "smdpAddress",
            "profileStatus",
            "firstInstalledDateTime",
        )
        shown = {name: esim[name] for name in names}
        if "installUrl" in request.one("additionalFields"):
            card = quote(f"LPA:1${esim['smdpAddress']}${esim['matchingId']}", safe="")
            for system, host in (("apple", "esimsetup.apple.com"), ("android", "esimsetup.android.com")):
                shown[f"{system}InstallUrl"] = f"https://{host}/esim_qrcode_provisioning?carddata={card}"
        return shown

    def _update_esim(self, request: Request) -> Response:
        body = _read_body(request)
        esim = self._esim(str(body.get("iccid") or request.one("iccid")))
        esim["customerRef"] = str(body.get("customerref") or request.one("customerRef"))
        self._note(esim, "eSIM Updated")
        self._state.touch()
        return Response.json({"status": "success"})

    def _list_assignments(self, request: Request) -> Response:
        references = request.query.get("reference", [])
        found = [
            (esim, assignment)
            for esim in self._state.esims.values()
            for assignment in esim["assignments"]
            if assignment["order"] in references
        ]
        if not found:
            raise EsimGoError(400, "no assignments found")
        if any(esim["state"] == "deactivated" for esim, _ in found):
            raise EsimGoError(410, "esim is deactivated")
        if "application/json" in request.headers.get("accept", ""):
            shown = []
            for esim, _ in found:
                installed = esim["firstInstalledDateTime"]
                moment = datetime.fromtimestamp(installed / 1000, UTC).isoformat() if installed else ""
                shown.append({**self._install_data(esim, request), "firstInstalledDateTime": moment})
            return Response.json(shown[0] if len(shown) == 1 else shown)
        sheet = io.StringIO()
        writer = csv.writer(sheet)
        writer.writerow(["ICCID", "Matching ID", "RSP URL", "Bundle", "Reference"])
        for esim, assignment in found:
            writer.writerow(
                [
                    esim["iccid"],
                    esim["matchingId"],
                    esim["smdpAddress"],
                    assignment["bundle"],
                    assignment["fields"]["assignmentReference"],
                ]
            )
        return Response(200, sheet.getvalue().encode(), "text/csv")

    def _get_history(self, request: Request, iccid: str) -> Response:
        return Response.json({"actions": list(reversed(self._esim(iccid)["history"]))})

    def _is_compatible(self, request: Request, iccid: str, bundle: str) -> Response:
        esim, offered = self._esim(iccid), self.bundle(bundle)
        if offered is None:
            raise EsimGoError(400, "bundle not found")
        fits = offered["profileName"] == esim["profileName"] and esim["state"] != "deactivated"
        return Response.json({"compatible": fits})

    def _list_esim_bundles(self, request: Request, iccid: str) -> Response:
        esim = self._esim(iccid)
        ended = {"depleted", "expired", "revoked", "lapsed"}
        bundles: dict[str, Json] = {}
        for assignment in reversed(esim["assignments"]):
            if assignment["fields"]["bundleState"] in ended and request.one("includeUsed") != "true":
                continue
            bundle = bundles.setdefault(
                assignment["bundle"],
                {"name": assignment["bundle"], "description": assignment["description"], "assignments": []},
            )
            bundle["assignments"].append(assignment["fields"])
        limit = request.integer("limit", 15, least=1, most=200)
        return Response.json({"bundles": list(bundles.values())[:limit]})

    def _get_esim_bundle(self, request: Request, iccid: str, name: str) -> Response:
        found = [each["fields"] for each in reversed(self._esim(iccid)["assignments"]) if each["bundle"] == name]
        if not found:
            raise EsimGoError(400, "bundle not found on esim")
        return Response.json({"assignments": found[:1]})

    def _revoke_bundle(self, request: Request, iccid: str, name: str, assignment: str = "") -> Response:
        esim = self._esim(iccid)
        wanted = assignment or request.one("offerId")
        found = [
            each
            for each in esim["assignments"]
            if each["bundle"] == name
            and each["fields"]["bundleState"] not in {"revoked", "expired", "depleted", "lapsed"}
            and wanted in {"", each["fields"]["id"]}
        ]
        if not found:
            raise EsimGoError(400, "bundle not found on esim")
        unused = [each for each in found if each["fields"]["bundleState"] in {"queued", "processing"}]
        revoked = (unused or found)[0]
        is_refundable = bool(unused) and self._state.settings["refunds_enabled"]
        text = "Successfully Revoked Bundle"
        if is_refundable:
            to = "balance" if request.one("refundToBalance") == "true" else "inventory"
            text += f", bundle has been refunded to {to}"
        if request.one("type", "transaction") == "transaction":
            revoked["fields"]["bundleState"] = "revoked"
            self._note(esim, "Bundle Revoked", bundle=name, bundleState="revoked")
            if is_refundable and request.one("refundToBalance") == "true":
                line = self._state.orders[revoked["order"]]["order"][0]
                self._state.balance_usd += line["pricePerUnit"]
                self._note(esim, "Bundle Refunded To Balance", bundle=name)
            self._state.touch()
        return Response.json({"status": text})

    def _esim(self, iccid: str) -> Json:
        """An eSIM of this account; any other ICCID is forbidden."""
        esim: Json | None = self._state.esims.get(iccid)
        if esim is None:
            raise EsimGoError(403, "Forbidden")
        return esim

    @staticmethod
    def _note(esim: Json, name: str, **details: str) -> None:
        esim["history"].append({"name": name, "date": _now(), **details})
        esim["lastAction"], esim["actionDate"] = name, _now()

    # What happens at the customer's phone

    def use(self, iccid: str, changes: Json) -> Json:
        """Move an eSIM's life on: "profile_status", "state"; of its newest bundle "remaining_mb", "bundle_state" and
        "ends_in_hours", which starts it if need be, and ends it where it is not positive.

        Returns the eSIM. Raises KeyError for an unknown one, ValueError for a negative amount.
        """
        esim: Json = self._state.esims[iccid]
        if status := changes.get("profile_status"):
            esim["profileStatus"] = status
            if status in {"Installed", "Enabled"} and not esim["firstInstalledDateTime"]:
                esim["firstInstalledDateTime"] = int(time.time() * 1000)
        esim["state"] = changes.get("state", esim["state"])
        if esim["assignments"] and {"remaining_mb", "bundle_state", "ends_in_hours"} & set(changes):
            newest = esim["assignments"][-1]
            fields = newest["fields"]
            if (left := changes.get("remaining_mb")) is not None:
                if left < 0:
                    raise ValueError("remaining_mb is not negative")
                fields["remainingQuantity"] = int(left * 1_000_000)
                fields["bundleState"] = "active" if left else "depleted"
            hours = changes.get("ends_in_hours")
            if hours is not None:
                fields["bundleState"] = "active" if hours > 0 else "expired"
            fields["bundleState"] = changes.get("bundle_state", fields["bundleState"])
            lasts = timedelta(days=newest["duration"])
            if hours is not None:
                end = datetime.now(UTC) + timedelta(hours=float(hours))
                fields["startTime"], fields["endTime"] = _moment(end - lasts), _moment(end)
            elif fields["bundleState"] == "active" and "startTime" not in fields:
                start = datetime.now(UTC)
                fields["startTime"], fields["endTime"] = _moment(start), _moment(start + lasts)
        self._state.touch()
        return esim

    def callback(self, kind: str, iccid: str, details: Json) -> Json:
        """Body of a V3 callback about an eSIM. Raises KeyError for an unknown one."""
        esim = self._state.esims[iccid]
        if kind.startswith("esim."):
            return {"date": _now(), "event": kind, "iccid": iccid, **details}
        body: Json = {"iccid": iccid, "alertType": kind}
        if kind in {"Utilisation", "FirstUse"} and esim["assignments"]:
            newest = esim["assignments"][-1]
            fields = newest["fields"]
            body["bundle"] = {
                "id": fields["id"],
                "reference": fields["assignmentReference"],
                "name": newest["bundle"],
                "description": newest["description"],
                "initialQuantity": fields["initialQuantity"],
                "remainingQuantity": fields["remainingQuantity"],
                "startTime": fields.get("startTime", ""),
                "endTime": fields.get("endTime", ""),
                "unlimited": fields["unlimited"],
            }
        return {**body, **details}

    def sign(self, body: Json, *, as_hex: bool = False) -> tuple[bytes, str]:
        """A callback's bytes and its X-Signature-SHA256, in base64 as the API reference says, or in hex."""
        content = encode(body)
        digest = hmac.new(self._api_key.encode(), content, hashlib.sha256).digest()
        return content, digest.hex() if as_hex else base64.b64encode(digest).decode()


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%S.%fZ}"


_COMPARE: dict[str, Callable[[datetime, datetime], bool]] = {
    "eq": operator.eq,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


def _time_filter(name: str, limit: str) -> Callable[[str], bool]:
    """A filter such as "gte:2026-01-04T12:00:00Z", for moments as texts."""
    comparison, _, moment = limit.partition(":")
    try:
        border = datetime.fromisoformat(moment)
    except ValueError:
        raise EsimGoError(400, f"invalid {name} filter") from None
    if comparison not in _COMPARE or border.tzinfo is None:
        raise EsimGoError(400, f"invalid {name} filter")
    compare = _COMPARE[comparison]
    return lambda value: compare(datetime.fromisoformat(value), border)


def _page(request: Request, name: str, items: list[Json], *, size_name: str, most: int) -> Json:
    size = request.integer(size_name, 10, least=1, most=most)
    page = request.integer("page", 1, least=1, most=1_000_000)
    return {
        name: items[(page - 1) * size : page * size],
        "pageCount": math.ceil(len(items) / size),
        "pageSize": size,
        "rows": len(items),
    }


def _is_rehearsal(request: Request) -> bool:
    try:
        return bool(_read_body(request).get("type") == "validate")
    except EsimGoError:
        return False


def _read_body(request: Request) -> Json:
    try:
        body: Json = _lower_names(request.json_object())
    except ValueError:
        raise EsimGoError(400, "invalid request body") from None
    return body


def _lower_names(value: Any) -> Any:
    """eSIM Go reads names whatever their case."""
    if isinstance(value, dict):
        return {name.lower(): _lower_names(item) for name, item in value.items()}
    return [_lower_names(item) for item in value] if isinstance(value, list) else value


def _now() -> str:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z"


def _networks(iso: str) -> list[Json]:
    """Two of a country; as in their schemas the one has its speeds under another name, and no brand."""
    return [
        {
            "name": f"Network {iso}",
            "brandName": f"Sandbox Mobile {iso}",
            "mcc": "001",
            "mnc": "01",
            "tagid": f"{iso}-1",
            "speeds": ["2G", "3G", "4G", "5G"],
        },
        {"name": f"Sandbox Telecom {iso}", "mcc": "001", "mnc": "02", "tagid": f"{iso}-2", "speed": ["3G", "4G"]},
    ]


def _new_iccid() -> str:
    """Nineteen digits, the last one by Luhn."""
    digits = f"8944538{secrets.randbelow(10**11):011}"
    total = 0
    for position, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if position % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return f"{digits}{-total % 10}"
