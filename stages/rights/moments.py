"""Times of captures and pages, as texts that compare as times."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any


def moment_of(value: Any) -> str | None:
    """A time in ISO 8601, UTC, to the second, so that texts compare as times; None for what is none.

    >>> moment_of("2024-05-01T02:00:00+02:00"), moment_of("2024-05-01"), moment_of("soon")
    ('2024-05-01T00:00:00Z', '2024-05-01T00:00:00Z', None)
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip()[:64])
        except ValueError:
            return None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return None
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    try:
        text: str = value.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat()
        return f"{text}Z"
    except OverflowError:
        return None
