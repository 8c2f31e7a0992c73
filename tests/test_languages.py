import pytest

from esimshop.languages import language_of


@pytest.mark.parametrize(
    ("code", "language"),
    [("ru", "ru"), ("ru-RU", "ru"), ("RU", "ru"), ("en-GB", "en"), ("de", "en"), ("", "en"), (None, "en")],
)
def test_russian_speakers_get_russian_and_everyone_else_english(code: str | None, language: str) -> None:
    assert language_of(code) == language
