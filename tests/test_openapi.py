"""The API's schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command

from esimshop.api import ERRORS

if TYPE_CHECKING:
    from pathlib import Path

    from django.test import Client

PRIVATE = {
    "create_invoice",
    "list_orders",
    "get_order",
    "invoice_closed",
    "get_customer",
    "change_customer",
    "delete_customer",
    "list_cases",
}
PUBLIC = {"list_areas", "list_plans", "get_plan", "get_faq", "get_terms", "get_privacy"}


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file: Path = tmp_path_factory.mktemp("schema") / "schema.json"
    call_command("spectacular", validate=True, fail_on_warn=True, format="openapi-json", file=str(file))
    return json.loads(file.read_text())


def operations(schema: Any) -> dict[str, Any]:
    return {call["operationId"]: call for path in schema["paths"].values() for call in path.values()}


def test_private_calls_need_init_data_and_public_ones_do_not(schema: Any) -> None:
    needs = {name: call.get("security") == [{"tmaAuth": []}] for name, call in operations(schema).items()}

    assert {name for name, private in needs.items() if private} >= PRIVATE
    assert {name for name, private in needs.items() if not private} >= PUBLIC
    assert schema["components"]["securitySchemes"]["tmaAuth"]["name"] == "Authorization"


def test_every_call_says_how_an_error_looks(schema: Any) -> None:
    assert schema["components"]["schemas"]["Error"]["properties"]["code"]["enum"] == list(ERRORS)
    for name, call in operations(schema).items():
        assert {"$ref": "#/components/schemas/Error"} in [
            answer["content"]["application/json"]["schema"]
            for answer in call["responses"].values()
            if "content" in answer
        ], name


@pytest.mark.parametrize("name", ["list_areas", "list_plans", "list_orders", "list_cases"])
def test_lists_are_pages(schema: Any, name: str) -> None:
    answer = operations(schema)[name]["responses"]["200"]["content"]["application/json"]["schema"]
    page = schema["components"]["schemas"][answer["$ref"].rpartition("/")[2]]

    assert set(page["properties"]) == {"count", "next", "previous", "results"}


@pytest.mark.django_db
def test_it_is_served_to_everyone(client: Client) -> None:
    answer = client.get("/api/schema", headers={"Accept": "application/vnd.oai.openapi+json"})

    assert answer.status_code == 200
    assert json.loads(answer.content)["info"]["title"] == "esimshop"


@pytest.mark.django_db
def test_its_errors_are_json_like_all_others(client: Client) -> None:
    for answer in (client.get("/api/schema?format=no-such-format"), client.post("/api/schema")):
        assert answer.status_code in {404, 405}
        assert answer["Content-Type"] == "application/json"
        assert json.loads(answer.content)["code"] == "bad_request"
