"""What browsers may do with our answers: load, frame, read across origins, and use of the device.

What pages load follows CONTENT_SECURITY_POLICY, in the back office a policy of its own. HSTS, nosniff, Referrer-Policy
and Cross-Origin-Opener-Policy are Django's SecurityMiddleware's, by the SECURE_ settings.
"""

from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest
from django.http.response import HttpResponseBase

ADMIN = "/admin/"
# Unfold computes its attributes in the browser (Alpine evaluates them) and colours by style attributes. Nothing may
# come from elsewhere, and nobody may frame a page with buttons that refund.
ADMIN_POLICY = {
    "default-src": ["'none'"],
    "script-src": ["'self'", "'unsafe-eval'"],
    "style-src": ["'self'", "'unsafe-inline'"],
    "img-src": ["'self'", "data:"],
    "font-src": ["'self'"],
    "connect-src": ["'self'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
}

# Nothing here asks for a sensor, a camera or a browser's own payment; whoever slips a script in shall not either.
UNUSED = (
    "accelerometer", "autoplay", "camera", "display-capture", "encrypted-media", "fullscreen", "geolocation",
    "gyroscope", "hid", "magnetometer", "microphone", "midi", "payment", "picture-in-picture",
    "publickey-credentials-get",
    "screen-wake-lock", "serial", "usb", "xr-spatial-tracking",
)  # fmt: skip
PERMISSIONS_POLICY = ", ".join(f"{feature}=()" for feature in UNUSED)


class ContentSecurityMiddleware(CSPMiddleware):
    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        is_page = response.get("Content-Type", "").startswith("text/html")
        if not is_page or request.path_info.startswith(ADMIN):
            # No other site may load it. The Mini App's page is left out: Telegram's web clients frame it.
            response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        # Only a page loads things. A policy on every JSON answer would cost a webhook a twentieth of its time.
        if not is_page:
            return response
        response.headers["Permissions-Policy"] = PERMISSIONS_POLICY
        return super().process_response(request, response)

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if not report_only and request.path_info.startswith(ADMIN):
            parts.config = ADMIN_POLICY
        return parts
