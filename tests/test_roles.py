"""Who may do what: each role on each page, list and act of the back office, as a table."""

from __future__ import annotations

import json
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError, call_command

from esimshop.acts import Act, act_url, all_acts
from orders.models import Customer, Order
from payments.services.roles import FINANCE, OPERATOR, ROLES, SUPPORT, SUPPORT_LEAD, set_up_roles
from tests.test_admin import fill_shop, list_url, name_of, page_url

if TYPE_CHECKING:
    from django.db.models import Model
    from django.test import Client

pytestmark = pytest.mark.django_db

# S: Support, L: Support lead, F: Finance, O: Operator. A superuser may look at everything; a member of staff without a
# group, and whoever has not logged in, at nothing.
LETTERS = {"S": SUPPORT, "L": SUPPORT_LEAD, "F": FINANCE, "O": OPERATOR}
MAY_LOOK = {
    "orders.order": "S L F  ",
    "orders.customer": "S L    ",
    "orders.esim": "S L    ",
    "orders.delivery": "S L    ",
    "orders.wholesalercallback": "S L   O",
    "orders.refusedcallback": "      O",
    "orders.orphan": "  L   O",
    "orders.restoration": "  L   O",
    "payments.payment": "S L F  ",
    "payments.refund": "S L F  ",
    "payments.refundrequest": "S L F  ",
    "payments.invoice": "S L    ",
    "payments.precheckout": "S L    ",
    "payments.case": "S L    ",
    "payments.startransaction": "S L F O",
    "payments.starsaccount": "  L F O",
    "payments.webhookstate": "      O",
    "payments.telegramupdate": "      O",
    "payments.servicepolicy": "    F O",
    "catalog.plan": "S L   O",
    "catalog.area": "S L   O",
    "catalog.network": "S L   O",
    "catalog.currencyrate": "    F O",
    "catalog.planchange": "      O",
    "catalog.catalogsync": "      O",
    "catalog.pricingpolicy": "    F O",
    "catalog.salespause": "S L   O",
    "catalog.wholesaleraccount": "  L F O",
    "esimshop.alert": "S L   O",
    "procrastinate.procrastinatejob": "      O",
    "auth.user": "       ",
    "auth.group": "       ",
    "axes.accesslog": "       ",
    "axes.accessattempt": "       ",
    "otp_totp.totpdevice": "       ",
}
MAY_ADD = {"catalog.pricingpolicy": "O", "payments.servicepolicy": "O", "catalog.currencyrate": "F O"}
# Permissions of our own: what more than looking a role may do.
MAY_DO = {
    "orders.reprovision_order": "S L    ",
    "orders.cancel_order": "S L    ",
    "orders.resend_delivery": "S L    ",
    "orders.reveal_activation_code": "S L    ",
    "orders.reconcile_orders": "  L   O",
    "orders.anonymise_customer": "  L    ",
    "orders.decide_orphan": "  L    ",
    "payments.refund_undelivered": "S L    ",
    "payments.refund_delivered": "  L    ",
    "payments.approve_refundrequest": "  L    ",
    "payments.answer_case": "S L    ",
    "payments.reconcile_stars": "    F O",
    "payments.export_reports": "    F  ",
    "payments.replay_telegramupdate": "      O",
    "catalog.pause_sales": "  L   O",
}
# The buttons: each act of esimshop.acts.
MAY_ACT = {
    "reprovision": "S L    ",
    "resend-esim": "S L    ",
    "resend-message": "S L    ",
    "cancel-order": "S L    ",
    "anonymise-customer": "  L    ",
    "adopt-orphan": "  L    ",
    "revoke-orphan": "  L    ",
    "write-off-orphan": "  L    ",
    "pause-sales": "  L   O",
    "resume-sales": "  L   O",
    "reconcile-orders": "  L   O",
    "reconcile-stars": "    F O",
    "replay-update": "      O",
    "sync-catalogue": "      O",
    "refund-order": "S L    ",
    "refund-payment": "S L    ",
    "refund-bought-order": "  L    ",
    "refund-bought-payment": "  L    ",
    "approve-refund": "  L    ",
    "decline-refund": "  L    ",
    "keep-charge": "  L    ",
}
#: Pages that are no list of a model; the letter N is staff without a role.
MAY_OPEN = {
    "/admin/": "S L F O N",
    "/admin/find/": "S L F O N",
    "/admin/reports/": "    F   ",
}
OUR_APPS = ("esimshop", "catalog", "orders", "payments")
MODELS: list[type[Model]] = list(admin.site._registry)


@pytest.fixture
def _roles() -> None:
    set_up_roles()


def member_of(role: str) -> User:
    user = User.objects.create_user(role.lower().replace(" ", "-"), password="password", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    return user


def letters(cell: str) -> set[str]:
    return set(cell.split())


# The table


def test_every_page_of_the_back_office_is_in_the_table() -> None:
    assert {name_of(model) for model in MODELS} <= set(MAY_LOOK)


def test_every_permission_of_our_own_is_in_the_table() -> None:
    own = {
        f"{permission.content_type.app_label}.{permission.codename}"
        for permission in Permission.objects.filter(content_type__app_label__in=OUR_APPS).select_related("content_type")
        if permission.codename.split("_")[0] not in {"view", "add", "change", "delete"}
    }

    assert own == set(MAY_DO)


@pytest.mark.usefixtures("_roles")
@pytest.mark.parametrize("letter", LETTERS)
def test_a_role_opens_the_pages_of_the_table_and_no_others(client: Client, letter: str) -> None:
    fill_shop(1)
    client.force_login(member_of(LETTERS[letter]))

    for model in MODELS:
        row = model._default_manager.order_by("-pk").first()
        assert row is not None
        expected = 200 if letter in letters(MAY_LOOK[name_of(model)]) else 403
        for url in (list_url(model), page_url(row), f"{list_url(model)}{row.pk}/history/"):
            assert client.get(url).status_code == expected, url
        may_add = letter in letters(MAY_ADD.get(name_of(model), ""))
        assert client.get(f"{list_url(model)}add/").status_code == (200 if may_add else 403), model


@pytest.mark.usefixtures("_roles")
@pytest.mark.parametrize("letter", LETTERS)
def test_a_role_has_the_permissions_of_the_table_and_no_others(letter: str) -> None:
    user = member_of(LETTERS[letter])

    assert {name for name in MAY_DO if user.has_perm(name)} == {
        name for name, cell in MAY_DO.items() if letter in letters(cell)
    }


def test_every_act_is_in_the_table() -> None:
    assert {act.name for act in all_acts()} == set(MAY_ACT)


def act_page(act: Act) -> str:
    """The confirmation page, for a row if the act is for rows."""
    row = act.model._default_manager.order_by("-pk").first() if act.model else None
    assert row is not None or act.model is None
    return act_url(act, *([row] if row else []))


@pytest.mark.usefixtures("_roles", "sandbox")
@pytest.mark.parametrize("letter", [*LETTERS, None])
def test_a_role_reaches_the_acts_of_the_table_and_no_others(client: Client, letter: str | None) -> None:
    fill_shop(1)
    for act in all_acts():
        answer = client.get(act_page(act))
        assert (answer.status_code, answer["Location"][:13]) == (302, "/admin/login/"), act.name
    client.force_login(member_of(LETTERS[letter]) if letter else User.objects.create_user("new", is_staff=True))

    for act in all_acts():
        is_allowed = letter in letters(MAY_ACT[act.name])
        assert client.get(act_page(act)).status_code == (200 if is_allowed else 403), act.name
        # Without a reason nothing is done: the form comes again.
        assert client.post(act_page(act), {}).status_code == (200 if is_allowed else 403), act.name


@pytest.mark.usefixtures("_roles")
@pytest.mark.parametrize("letter", [*LETTERS, "N"])
def test_pages_that_are_no_list_open_for_those_of_the_table(client: Client, letter: str) -> None:
    client.force_login(
        member_of(LETTERS[letter]) if letter in LETTERS else User.objects.create_user("new", is_staff=True)
    )

    answers = {path: client.get(path).status_code for path in MAY_OPEN}

    assert answers == {path: 200 if letter in letters(who) else 403 for path, who in MAY_OPEN.items()}


def test_no_role_changes_or_deletes_anything_but_rates_or_adds_more_than_policies_and_syncs() -> None:
    written = {
        name
        for role in ROLES.values()
        for name in role
        if name.split(".")[1].startswith(("add_", "change_", "delete_"))
    }

    assert written == {
        "catalog.add_pricingpolicy",
        "payments.add_servicepolicy",
        "catalog.add_catalogsync",
        *(f"catalog.{act}_currencyrate" for act in ("add", "change", "delete")),
    }


@pytest.mark.usefixtures("_roles")
def test_staff_without_a_role_open_nothing_and_strangers_are_asked_to_log_in(client: Client) -> None:
    fill_shop(1)
    for model in MODELS:
        assert client.get(list_url(model)).status_code == 302, model

    client.force_login(User.objects.create_user("new", is_staff=True))
    for model in MODELS:
        row = model._default_manager.order_by("-pk").first()
        assert row is not None
        assert client.get(list_url(model)).status_code == 403, model
        assert client.get(page_url(row)).status_code == 403, model


@pytest.mark.usefixtures("_roles")
def test_whoever_is_no_member_of_staff_opens_nothing_whatever_their_group(client: Client) -> None:
    user = member_of(SUPPORT_LEAD)
    user.is_staff = False
    user.save()
    client.force_login(user)

    for model in MODELS:
        assert client.get(list_url(model)).status_code == 302, model


# What a page shows of others' pages


@pytest.mark.usefixtures("_roles")
def test_no_page_shows_finance_a_customers_name_or_message(client: Client) -> None:
    fill_shop(1)
    Customer.objects.update(username="vera_ivanova", first_name="Vera", last_name="Ivanova")
    client.force_login(member_of(FINANCE))

    for model in MODELS:
        row = model._default_manager.order_by("-pk").first()
        assert row is not None
        for url in (list_url(model), page_url(row)):
            page = client.get(url).content.decode()
            for secret in ("vera_ivanova", "Vera", "Ivanova", "Спасибо"):
                assert secret not in page, url


@pytest.mark.usefixtures("_roles")
def test_the_order_page_shows_support_the_customer_by_name(client: Client) -> None:
    fill_shop(1)
    Customer.objects.update(username="vera_ivanova")
    client.force_login(member_of(SUPPORT))

    assert "@vera_ivanova" in client.get(list_url(Order)).content.decode()
    assert "@vera_ivanova" in client.get(page_url(Order.objects.get())).content.decode()


# setup_roles


def set_up(*options: str) -> str:
    out = StringIO()
    call_command("setup_roles", *options, stdout=out)
    return out.getvalue()


def test_setup_roles_makes_the_groups_and_says_what_it_gave() -> None:
    said = set_up()

    assert "Support: new" in said
    assert "  + payments.refund_delivered" in said
    for role, permissions in ROLES.items():
        group = Group.objects.get(name=role)
        assert {f"{each.content_type.app_label}.{each.codename}" for each in group.permissions.all()} == permissions


def test_setup_roles_a_second_time_changes_nothing() -> None:
    set_up()

    changes = json.loads(set_up("--json"))

    assert [change["role"] for change in changes] == list(ROLES)
    assert not any(change["is_new"] or change["given"] or change["taken"] for change in changes)


def test_setup_roles_takes_what_was_given_by_hand_and_gives_what_was_taken() -> None:
    set_up()
    group = Group.objects.get(name=SUPPORT)
    member = User.objects.create_user("anna", is_staff=True)
    member.groups.add(group)
    group.permissions.add(Permission.objects.get(codename="refund_delivered"))
    group.permissions.remove(Permission.objects.get(codename="answer_case"))

    said = set_up()

    assert "Support: changed\n  + payments.answer_case\n  - payments.refund_delivered\n" in said
    assert list(member.groups.all()) == [group]
    assert member.has_perm("payments.answer_case")
    assert not member.has_perm("payments.refund_delivered")


def test_setup_roles_leaves_groups_alone_that_are_none_of_its_own() -> None:
    own = Group.objects.create(name="Translators")
    own.permissions.add(Permission.objects.get(codename="view_plan"))

    set_up()

    assert own.permissions.count() == 1


def test_a_dry_run_says_what_it_would_do_and_does_nothing() -> None:
    said = set_up("--dry-run")

    assert "Support: new" in said
    assert "Nothing was changed" in said
    assert not Group.objects.exists()


def test_setup_roles_before_the_permissions_are_there_says_what_to_do() -> None:
    Permission.objects.filter(codename="answer_case").delete()

    with pytest.raises(CommandError, match=r"payments\.answer_case.*manage\.py migrate"):
        set_up()
    assert not Group.objects.exists()
