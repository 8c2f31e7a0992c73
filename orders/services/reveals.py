"""Showing an activation code to a member of staff: noted first, with who and why."""

from __future__ import annotations

from dataclasses import dataclass, field

from orders.models import Esim, Order, OrderEvent, note_event


class RevealRefused(Exception):
    """There is nothing to reveal, or nobody says why it should be; the text says so, for staff."""


@dataclass(frozen=True, kw_only=True)
class RevealedCode:
    """What installs an eSIM. Never in a repr, which logs and error pages print."""

    iccid_last4: str
    smdp_address: str = field(repr=False)
    matching_id: str = field(repr=False)
    activation_code: str = field(repr=False)


def reveal_activation_code(order: Order, *, actor: str, reason: str) -> RevealedCode:
    """The activation code of the order's eSIM, for support to read to its owner.

    The order's timeline says who saw it and why before it is returned: where that cannot be written, it is not shown.
    Call outside transactions.

    Raises: RevealRefused (no reason, no eSIM, or no code any more).
    """
    reason = reason.strip()
    if not reason:
        raise RevealRefused("Say why you need to see the code.")
    esim = revealable_esim(order)
    if esim is None:
        raise RevealRefused("The order has no eSIM.")
    if not esim.matching_id:
        raise RevealRefused("The code is gone: the customer had their data deleted.")
    if esim.matching_id in reason:
        raise RevealRefused("The reason contains the code itself: everybody would read it there.")
    note_event(order, kind=OrderEvent.Kind.REVEAL, actor=actor, reason=reason)
    return RevealedCode(
        iccid_last4=esim.iccid[-4:],
        smdp_address=esim.smdp_address,
        matching_id=esim.matching_id,
        activation_code=esim.activation_code,
    )


def revealable_esim(order: Order) -> Esim | None:
    """The eSIM that the order brought, or the one that it tops up."""
    return next(iter(order.esims.all()), None) or order.top_up_esim
