"""The roles of the staff, which are groups, and what each may do. ROLES is the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import Q

SUPPORT, SUPPORT_LEAD, FINANCE, OPERATOR = "Support", "Support lead", "Finance", "Operator"


def _view(*models: str) -> frozenset[str]:
    return frozenset(f"{app}.view_{model}" for app, model in (name.split(".") for name in models))


_CATALOGUE = _view("catalog.plan", "catalog.area", "catalog.network", "catalog.planchange", "catalog.catalogsync")
_SALES = _view("catalog.salespause", "catalog.pricingpolicy", "payments.servicepolicy", "catalog.wholesaleraccount")
_RATES = frozenset(f"catalog.{act}_currencyrate" for act in ("view", "add", "change", "delete"))
_MONEY = _view(
    "payments.payment",
    "payments.paymentevent",
    "payments.refund",
    "payments.refundrequest",
    "payments.startransaction",
)
_ORDER = _view("orders.order", "orders.orderevent", "orders.provisioningattempt", "payments.invoice")
_CUSTOMER = _view(
    "orders.customer",
    "orders.esim",
    "orders.delivery",
    "orders.esimbundle",
    "orders.wholesalercall",
    "orders.wholesalercallback",
    "payments.precheckout",
    "payments.case",
    "payments.casemessage",
)

_SUPPORT = frozenset(
    {
        *_MONEY,
        *_ORDER,
        *_CUSTOMER,
        *_view("catalog.plan", "catalog.area", "catalog.network", "catalog.salespause", "esimshop.alert"),
        "orders.reprovision_order",
        "orders.cancel_order",
        "orders.resend_delivery",
        "orders.reveal_activation_code",
        "payments.refund_undelivered",
        "payments.answer_case",
    }
)

#: What each role may do, and nothing else: `app.codename` of Django's permissions. Nobody may add, change or delete
#: a row of money, whatever their role; the two policies are rows that are added, and no admin page adds a sync.
#: Rates of currencies are no money of ours: they only say about how much a price is.
ROLES: Mapping[str, frozenset[str]] = {
    # Looks at whatever a customer asks about, sends again, buys again, returns Stars where no eSIM was bought.
    SUPPORT: _SUPPORT,
    # And decides what costs the shop money: any refund, another's refund, purchases that nobody owns, the brake.
    SUPPORT_LEAD: _SUPPORT
    | {
        *_view("orders.orphan", "orders.restoration", "catalog.wholesaleraccount", "payments.starsaccount"),
        "orders.anonymise_customer",
        "orders.decide_orphan",
        "orders.reconcile_orders",
        "payments.refund_delivered",
        "payments.approve_refundrequest",
        "catalog.pause_sales",
    },
    # Explains every Star, and reads nothing that is between the shop and a customer: no name, message or eSIM.
    FINANCE: frozenset(
        {
            *_MONEY,
            *_view("orders.order", "orders.orderevent", "payments.starsaccount"),
            *_view("catalog.pricingpolicy", "payments.servicepolicy", "catalog.wholesaleraccount"),
            *_RATES,
            "payments.export_reports",
            "payments.reconcile_stars",
        }
    ),
    # Keeps the shop running: catalogue, prices and rules, updates, tasks, alerts, the brake, the books' comparison.
    OPERATOR: frozenset(
        {
            *_CATALOGUE,
            *_SALES,
            *_RATES,
            *_view("payments.telegramupdate", "payments.startransaction", "payments.starsaccount", "orders.orphan"),
            *_view(
                "orders.wholesalercallback", "orders.refusedcallback", "orders.restoration", "payments.webhookstate"
            ),
            *_view("esimshop.alert", "procrastinate.procrastinatejob", "procrastinate.procrastinateevent"),
            "catalog.add_catalogsync",  # to have the catalogue read again; the row is the sync's own
            "catalog.add_pricingpolicy",
            "catalog.pause_sales",
            "payments.add_servicepolicy",
            "payments.replay_telegramupdate",
            "payments.reconcile_stars",
            "orders.reconcile_orders",
        }
    ),
}


@dataclass(frozen=True)
class RoleChange:
    """What was to be done for one role to be as ROLES says; permissions as `app.codename`, sorted."""

    role: str
    is_new: bool
    given: list[str]
    taken: list[str]

    @property
    def is_change(self) -> bool:
        return bool(self.is_new or self.given or self.taken)


@transaction.atomic
def set_up_roles() -> list[RoleChange]:
    """Make the groups of ROLES, each with exactly its permissions. Members and other groups stay as they are.

    Returns: one row for each role, also where nothing was to be done.
    Raises:  Permission.DoesNotExist where one of them is not in the database (migrate makes them).
    """
    permissions = _permissions(permission for role in ROLES.values() for permission in role)
    changes = []
    for role, wanted in ROLES.items():
        group, is_new = Group.objects.get_or_create(name=role)
        has = {_name(permission) for permission in group.permissions.select_related("content_type")}
        changes.append(RoleChange(role, is_new, given=sorted(wanted - has), taken=sorted(has - wanted)))
        group.permissions.set(permissions[name] for name in wanted)
    return changes


def _permissions(names: Iterable[str]) -> dict[str, Permission]:
    wanted = set(names)
    one_of_them = Q()
    for app, codename in (name.split(".") for name in wanted):
        one_of_them |= Q(content_type__app_label=app, codename=codename)
    found = {_name(each): each for each in Permission.objects.filter(one_of_them).select_related("content_type")}
    if missing := sorted(wanted - set(found)):
        raise Permission.DoesNotExist(f"No such permission: {', '.join(missing)}.")
    return found


def _name(permission: Permission) -> str:
    return f"{permission.content_type.app_label}.{permission.codename}"
