"""Addresses that do not exist."""

import pytest
from django.test import Client


@pytest.mark.django_db
def test_below_api_an_unknown_address_is_json_in_the_callers_language(client: Client) -> None:
    answer = client.get("/api/nothing-here", headers={"accept-language": "ru"})

    assert answer.status_code == 404
    assert answer.json() == {"code": "bad_request", "detail": "Такого адреса нет."}


@pytest.mark.django_db
def test_elsewhere_it_is_a_page(client: Client) -> None:
    answer = client.get("/nothing-here")

    assert answer.status_code == 404
    assert answer["Content-Type"].startswith("text/html")
