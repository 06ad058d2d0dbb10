"""Tests of counting and masking personal data."""

import pytest

from baicai.wholesale.processing.pii import count_pii, mask_pii


@pytest.mark.parametrize(
    ("text", "masked", "counts"),
    [
        ("Write to ann.lee+x@mail.example.org!", "Write to <email>!", (1, 0, 0)),
        ("no@mail, @handle, a@b", "no@mail, @handle, a@b", (0, 0, 0)),
        ("Call +49 30 1234567 or (030) 123-4567.", "Call <phone> or <phone>.", (0, 2, 0)),
        ("In 2026, 100 000 people, version 1.2.3", "In 2026, 100 000 people, version 1.2.3", (0, 0, 0)),
        ("8.8.8.8 and 2001:4860:4860::8888", "<address> and <address>", (0, 0, 2)),
        (
            "127.0.0.1, 10.0.0.7, 192.168.1.1, ::1, 999.1.1.1",
            "127.0.0.1, 10.0.0.7, 192.168.1.1, ::1, 999.1.1.1",
            (0, 0, 0),
        ),
        ("", "", (0, 0, 0)),
        ("at 12:30:45", "at 12:30:45", (0, 0, 0)),
    ],
)
def test_pii_is_counted_and_masked(text: str, masked: str, counts: tuple[int, int, int]) -> None:
    assert tuple(count_pii(text).values()) == counts
    assert mask_pii(text) == masked
    assert sum(count_pii(masked).values()) == 0


@pytest.mark.parametrize(
    "text", ["a" * 200_000 + "@", "1-" * 100_000, "0 " * 100_000, ":" * 100_000, "a.b@" * 50_000, "1." * 99_999]
)
def test_hostile_text_is_searched_quickly(text: str) -> None:
    import time

    begun = time.monotonic()
    count_pii(text)
    assert time.monotonic() - begun < 10
