"""The second factor of a member of staff: codes of an app (TOTP, RFC 6238), and recovery codes that work once each.

With STAFF_SECOND_FACTOR=required, which is the default in production, whoever has none sets one up before any other
page opens; with "optional" it is everybody's own choice. Its secret is shown while it is being set up and never again;
of the recovery codes only a keyed digest is kept.
"""

from __future__ import annotations

from math import ceil

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db import transaction
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django_otp.models import Device
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

RECOVERY_CODES = 10
APP_CODE_DIGITS = 6


class CodeRefused(Exception):
    """The code is wrong, used already, or comes too soon after a wrong one; the text says which, for staff."""


def has_second_factor(user: AbstractBaseUser | AnonymousUser) -> bool:
    return bool(TOTPDevice.objects.filter(user=user.pk, confirmed=True).exists())


def awaits_code(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Whether the password alone has opened this session, and its owner has a second factor."""
    return user.is_authenticated and getattr(user, "otp_device", None) is None and has_second_factor(user)


def must_set_up(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Whether nothing opens for this member of staff until they have a second factor."""
    return settings.STAFF_SECOND_FACTOR_REQUIRED and user.is_authenticated and not has_second_factor(user)


def device_being_set_up(user: User) -> TOTPDevice | None:
    return TOTPDevice.objects.filter(user=user, confirmed=False).first()


@transaction.atomic
def start_second_factor(user: User) -> None:
    """Make a new secret, which counts once a code of it was given. One that is in use stays."""
    _lock(user)
    TOTPDevice.objects.filter(user=user, confirmed=False).delete()
    if not has_second_factor(user):
        TOTPDevice.objects.create(user=user, name="authenticator app", confirmed=False)


def confirm_second_factor(user: User, *, code: str) -> tuple[TOTPDevice, list[str]]:
    """Switch it on, since the app gives the right codes.

    Returns: the device, and the recovery codes, which are shown this once.
    Raises:  CodeRefused.
    """
    with transaction.atomic():
        _lock(user)
        device = device_being_set_up(user)
        if device is None or has_second_factor(user):
            raise CodeRefused("There is nothing to confirm: it was switched on, or given up, in another window.")
        refusal = _try(device, code)
        if not refusal:
            device.confirmed = True
            device.save()
            return device, _make_recovery_codes(user)
    # Out of the transaction, which keeps the count of wrong codes.
    raise CodeRefused(refusal)


def verify_code(user: User, *, code: str) -> Device:
    """The device to which the code belongs: the app, or the recovery codes, of which it is used up.

    Raises: CodeRefused.
    """
    with transaction.atomic():
        _lock(user)
        model = TOTPDevice if len(_cleaned(code)) == APP_CODE_DIGITS else StaticDevice
        device = model.objects.filter(user=user, confirmed=True).first()
        refusal = _try(device, code) if device else "That code is not right."
        if device and not refusal:
            return device
    raise CodeRefused(refusal)


def renew_recovery_codes(user: User, *, code: str) -> list[str]:
    """New recovery codes, shown this once, in place of the old ones. Raises: CodeRefused."""
    verify_code(user, code=code)
    with transaction.atomic():
        return _make_recovery_codes(user)


def recovery_codes_left(user: User) -> int:
    return int(StaticToken.objects.filter(device__user=user).count())


def switch_off_second_factor(user: User, *, code: str) -> None:
    """By its owner. Raises: CodeRefused."""
    verify_code(user, code=code)
    remove_second_factor(user)


@transaction.atomic
def remove_second_factor(user: User) -> None:
    """By whoever may, where the owner has lost it: the password alone opens the back office again."""
    TOTPDevice.objects.filter(user=user).delete()
    StaticDevice.objects.filter(user=user).delete()


def _lock(user: User) -> None:
    # One code at a time: else two requests could use one code, or guess twice as fast.
    User.objects.select_for_update().get(pk=user.pk)


def _try(device: TOTPDevice | StaticDevice, code: str) -> str:
    """Why the code is refused; empty: it is right."""
    code = _cleaned(code)
    is_allowed, why = device.verify_is_allowed()
    if not is_allowed:
        seconds = ceil((why["locked_until"] - timezone.now()).total_seconds())
        return f"Too many wrong codes: wait {max(1, seconds)} s, then try again."
    if isinstance(device, StaticDevice):
        digests = [_digest(code, key=key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
        code = device.token_set.filter(token__in=digests).values_list("token", flat=True).first() or digests[0]
    return "" if device.verify_token(code) else "That code is not right."


def _make_recovery_codes(user: User) -> list[str]:
    StaticDevice.objects.filter(user=user).delete()
    device = StaticDevice.objects.create(user=user, name="recovery codes")
    codes = [StaticToken.random_token() for _ in range(RECOVERY_CODES)]
    StaticToken.objects.bulk_create(StaticToken(device=device, token=_digest(code)) for code in codes)
    return codes


def _digest(code: str, *, key: str | None = None) -> str:
    """What the database keeps of a recovery code: of no use to whoever reads it without SECRET_KEY."""
    # 64 bits: the token's column holds 16 characters.
    return salted_hmac("esimshop.recovery-code", code, secret=key, algorithm="sha256").hexdigest()[:16]


def _cleaned(code: str) -> str:
    return "".join(code.split()).replace("-", "").lower()
