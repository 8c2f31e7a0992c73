"""The site of the back office: Unfold's, with a guarded login and a second factor."""

from __future__ import annotations

import base64
from typing import Any

import django_otp
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import REDIRECT_FIELD_NAME, logout
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from unfold.sites import UnfoldAdminSite
from unfold.widgets import UnfoldAdminTextInputWidget

from esimshop import second_factor
from esimshop.activation_codes import qr_svg
from esimshop.second_factor import CodeRefused
from esimshop.staff_login import count_failure, locked_page, seconds_locked


class CodeForm(forms.Form):
    code = forms.CharField(
        max_length=20,
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "one-time-code", "autofocus": "", "spellcheck": "false"}
        ),
    )


class BackOfficeSite(UnfoldAdminSite):
    def has_permission(self, request: HttpRequest) -> bool:
        if not super().has_permission(request):
            return False
        # Asked several times a page, and once of the database.
        if not hasattr(request, "is_let_in"):
            request.is_let_in = _is_let_in(request)  # type: ignore[attr-defined]
        return bool(request.is_let_in)  # type: ignore[attr-defined]

    def extra_urls(self) -> list[URLPattern]:
        return [
            path("login/code/", self.login_code, name="login-code"),
            path("second-factor/", csrf_protect(never_cache(self.second_factor)), name="second-factor"),
        ]

    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if second_factor.awaits_code(request.user):
            return redirect(f"{reverse('admin:login-code')}?{urlencode({REDIRECT_FIELD_NAME: _next_page(request)})}")
        if super().has_permission(request) and second_factor.must_set_up(request.user):
            return redirect("admin:second-factor")
        if request.method != "POST":
            return super().login(request, extra_context)
        if seconds := seconds_locked(request):
            return locked_page(request, seconds=seconds)
        response = super().login(request, extra_context)
        if not request.user.is_authenticated:
            count_failure(request)
        return response

    @method_decorator(never_cache)
    @method_decorator(sensitive_post_parameters())
    def login_code(self, request: HttpRequest) -> HttpResponse:
        """The step after the password, for whoever has a second factor."""
        if not second_factor.awaits_code(request.user):
            return redirect(_next_page(request))
        if "leave" in request.POST:
            logout(request)
            return redirect("admin:login")
        form = CodeForm(request.POST or None)
        form.fields["code"].label = "Code"
        if form.is_valid():
            try:
                device = second_factor.verify_code(_user(request), code=form.cleaned_data["code"])
            except CodeRefused as error:
                form.add_error("code", str(error))
            else:
                _let_in(request, device)
                return redirect(_next_page(request))
        context = {**self.each_context(request), "title": "Code", "form": form, "next": _next_page(request)}
        return render(request, "backoffice/login_code.html", context)

    @method_decorator(sensitive_post_parameters())
    def second_factor(self, request: HttpRequest) -> HttpResponse:
        """Where a member of staff switches their own second factor on and off.

        The one page that opens for whoever must set one up.
        """
        if not super().has_permission(request) or second_factor.awaits_code(request.user):
            return redirect_to_login(request.get_full_path(), reverse("admin:login"))
        user = _user(request)
        form = CodeForm(request.POST if "code" in request.POST else None)
        codes: list[str] = []
        match request.POST.get("act"):
            case "start":
                second_factor.start_second_factor(user)
                return redirect("admin:second-factor")
            case act if act and form.is_valid():
                try:
                    codes = self._act(request, act, code=form.cleaned_data["code"])
                except CodeRefused as error:
                    form.add_error("code", str(error))
                else:
                    if not codes:
                        return redirect("admin:second-factor")
        is_on = second_factor.has_second_factor(user)
        device = None if is_on else second_factor.device_being_set_up(user)
        context = {
            **self.each_context(request),
            "title": "Second factor",
            "form": form,
            "is_on": is_on,
            "device": device,
            "qr_code": device and base64.b64encode(qr_svg(device.config_url).encode()).decode(),
            "secret": device and base64.b32encode(device.bin_key).decode(),
            "codes": codes,
            "codes_left": second_factor.recovery_codes_left(user) if is_on else 0,
            "is_required": settings.STAFF_SECOND_FACTOR_REQUIRED,
        }
        return render(request, "backoffice/second_factor.html", context)

    def _act(self, request: HttpRequest, act: str, *, code: str) -> list[str]:
        """Do it and note it. Returns: new recovery codes, if it makes any. Raises: CodeRefused."""
        user = _user(request)
        codes: list[str] = []
        match act:
            case "confirm":
                device, codes = second_factor.confirm_second_factor(user, code=code)
                _let_in(request, device)
                done = "Switched the second factor on."
            case "renew":
                codes = second_factor.renew_recovery_codes(user, code=code)
                done = "Made new recovery codes."
            case "off":
                second_factor.switch_off_second_factor(user, code=code)
                done = "Switched the second factor off."
            case _:
                return []
        LogEntry.objects.log_actions(user.pk, [user], CHANGE, change_message=done, single_object=True)
        messages.success(request, done)
        return codes


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _is_let_in(request: HttpRequest) -> bool:
    """Whether this session of a member of staff has shown all that it must, by one query at most."""
    if getattr(request.user, "otp_device", None) is not None:
        return True
    return not settings.STAFF_SECOND_FACTOR_REQUIRED and not second_factor.has_second_factor(request.user)


def _let_in(request: HttpRequest, device: Any) -> None:
    django_otp.login(request, device)
    # What somebody may have seen of the session before is worth nothing now.
    request.session.cycle_key()


def _next_page(request: HttpRequest) -> str:
    """Where the member of staff wanted to go, if that is a page of ours."""
    wanted = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME) or ""
    is_ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    # A word without a slash would be taken for the name of a view.
    return wanted if is_ours and wanted.startswith("/") else reverse("admin:index")
