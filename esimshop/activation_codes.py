"""Activation codes: what a phone needs to install an eSIM, as text, link and QR code.

Made here and never by a service elsewhere, since whoever reads a code can install the eSIM.
"""

import io
from itertools import groupby
from urllib.parse import quote

import qrcode
from qrcode.constants import ERROR_CORRECT_M
from qrcode.image.pil import PilImage
from qrcode.image.pure import PyPNGImage

# Telegram shows a photo of about this width without scaling it up.
PHOTO_PIXELS = 600
QUIET_ZONE = 4


def lpa_code(smdp_address: str, matching_id: str) -> str:
    """The LPA activation code, which is also what the QR code says (SGP.22, section 4.1)."""
    return f"LPA:1${smdp_address}${matching_id}"


def apple_install_url(code: str) -> str:
    """A link that installs the eSIM on an iPhone or iPad with iOS 17.4 or newer."""
    return f"https://esimsetup.apple.com/esim_qrcode_provisioning?carddata={quote(code, safe='')}"


def android_install_url(code: str) -> str:
    """A link that installs the eSIM on an Android 10 or newer phone that supports it."""
    return f"https://esimsetup.android.com/esim_qrcode_provisioning?carddata={quote(code, safe='')}"


def qr_svg(code: str) -> str:
    """The QR code as one SVG path, a unit per module; the page must leave four modules of white around it."""
    rows = _modules(code, quiet_zone=0).get_matrix()
    path = []
    for y, row in enumerate(rows):
        x = 0
        for is_dark, run in groupby(row):
            length = len(list(run))
            if is_dark:
                path.append(f"M{x} {y}h{length}v1h-{length}z")
            x += length
    size = len(rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" shape-rendering="crispEdges">'
        f'<path d="{"".join(path)}"/></svg>'
    )


def qr_png(code: str) -> bytes:
    """The QR code as a PNG, black on white with its quiet zone, about PHOTO_PIXELS wide."""
    modules = _modules(code, quiet_zone=QUIET_ZONE)
    modules.box_size = PHOTO_PIXELS // len(modules.get_matrix())
    png = io.BytesIO()
    modules.make_image(image_factory=PilImage).save(png, format="PNG")
    return png.getvalue()


def _modules(code: str, *, quiet_zone: int) -> "qrcode.QRCode[PilImage | PyPNGImage]":
    modules = qrcode.QRCode(error_correction=ERROR_CORRECT_M, border=quiet_zone)
    modules.add_data(code)
    modules.make(fit=True)
    return modules
