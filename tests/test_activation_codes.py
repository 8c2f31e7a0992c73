"""Activation codes, read back by a scanner that knows nothing of how they were made."""

import re
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest

from esimshop.activation_codes import android_install_url, apple_install_url, lpa_code, qr_png, qr_svg

CODE = lpa_code("rsp-3104.idemia.io", "JQ-28S4YU-1OHXVSO&%?")


def scanned(picture: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> str:
    text, _, _ = cv2.QRCodeDetectorAruco().detectAndDecode(picture)
    return text


def drawn(svg: str, *, scale: int = 8, quiet_zone: int = 4) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """The picture of our one-path SVG: a white field with the path's bars in black."""
    size_match = re.search(r'viewBox="0 0 (\d+) \1"', svg)
    assert size_match
    size = int(size_match[1]) + 2 * quiet_zone
    picture = np.full((size, size), 255, dtype=np.uint8)
    for x, y, length, back in re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", svg):
        assert length == back
        row, column = int(y) + quiet_zone, int(x) + quiet_zone
        picture[row, column : column + int(length)] = 0
    return np.kron(picture, np.ones((scale, scale), dtype=np.uint8))


def test_an_activation_code_names_format_address_and_matching_id() -> None:
    assert lpa_code("rsp.truphone.com", "AB-12") == "LPA:1$rsp.truphone.com$AB-12"


@pytest.mark.parametrize(
    ("link", "host"),
    [(apple_install_url(CODE), "esimsetup.apple.com"), (android_install_url(CODE), "esimsetup.android.com")],
)
def test_an_install_link_carries_the_whole_code(link: str, host: str) -> None:
    parts = urlsplit(link)

    assert (parts.scheme, parts.hostname, parts.path) == ("https", host, "/esim_qrcode_provisioning")
    assert parse_qs(parts.query) == {"carddata": [CODE]}
    assert "carddata=LPA%3A1%24rsp-3104.idemia.io%24" in link


def test_the_svg_scans_as_the_code() -> None:
    assert scanned(drawn(qr_svg(CODE))) == CODE


def test_the_svg_is_one_path_without_anything_a_strict_page_refuses() -> None:
    svg = qr_svg(CODE)

    assert re.fullmatch(r"<svg [^>]*><path d=\"[Mhvz0-9 -]+\"/></svg>", svg)
    assert "style" not in svg
    assert " width" not in svg
    assert len(svg) < 10_000


def test_the_photo_scans_as_the_code_and_is_large_enough_for_a_chat() -> None:
    picture = cv2.imdecode(np.frombuffer(qr_png(CODE), dtype=np.uint8), cv2.IMREAD_GRAYSCALE)

    assert picture is not None
    height, width = picture.shape
    assert height == width
    assert 500 <= width <= 600
    assert set(np.unique(picture)) == {0, 255}
    assert (picture[:20] == 255).all()
    assert scanned(picture) == CODE
