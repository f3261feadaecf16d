"""The client against a local Klen: what the one asks, the other answers, for the whole Calendar API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from receiver.clock import SystemClock
from receiver.config import Source
from receiver.klen import (
    Accounts,
    AgentNotFound,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    TeamNotFound,
    Unauthorized,
)
from receiver.sandbox import Sandbox

NOON = (datetime.now(UTC) + timedelta(days=2)).replace(hour=12, minute=0, second=0, microsecond=0)
HOUR = timedelta(hours=1)


def sources(sandbox: Sandbox, **keys: str) -> dict[str, Source]:
    """A source for each key."""
    return {
        name: Source.model_validate(
            {"secrets": ["a-long-enough-test-secret"], "api_url": sandbox.api_url, "api_key": key}
        )
        for name, key in keys.items()
    }


async def test_an_appointment_from_its_booking_to_its_end() -> None:
    """Booked, found in the list, looked at whole, moved, cancelled; each answer is typed."""
    async with Sandbox(seed=1) as sandbox:
        given = sources(sandbox, full="klen_sandbox_full")
        async with Accounts(given, SystemClock()) as accounts:
            klen = accounts.of("full")
            made = await klen.create(
                title="Product Demo",
                start_time=NOON,
                end_time=NOON + HOUR,
                kind="video_call",
                customer_name="Jane Doe",
                customer_email="jane@example.com",
                customer_notes="Afternoons",
                ai_agent_id=42,
                team_id=5,
            )
            assert (made.title, made.start_time, made.status) == ("Product Demo", NOON, "scheduled")
            listed = [event async for event in klen.events(NOON.date(), NOON.date(), status="scheduled")]
            assert [event.uuid for event in listed] == [made.uuid]
            whole = await klen.event(made.id or 0)
            assert (whole.kind, whole.customer.email, whole.ai_agent and whole.ai_agent.id) == (
                "video_call",
                "jane@example.com",
                42,
            )
            assert (whole.team and whole.team.id, whole.created_at is not None) == (5, True)
            busy = await klen.availability(NOON.date(), NOON.date(), duration_minutes=60)
            assert all(slot.start != NOON for slot in busy.available_slots)
            await klen.update(made.uuid or "", start_time=NOON + HOUR, end_time=NOON + 2 * HOUR)
            assert (await klen.event(made.uuid or "")).start_time == NOON + HOUR
            assert (await klen.cancel(made.uuid or "", "Fell ill")).status == "cancelled"
            assert (await klen.event(made.uuid or "")).status == "cancelled"


async def test_what_is_refused_says_why() -> None:
    """Each of the vendor's codes is an error of its own."""
    async with Sandbox(seed=1) as sandbox:
        given = sources(sandbox, full="klen_sandbox_full", read="klen_sandbox_read", none="klen_sandbox_no")
        async with Accounts(given, SystemClock()) as accounts:
            klen = accounts.of("full")
            with pytest.raises(NotFound) as missing:
                await klen.event("no-such-thing")
            assert (missing.value.status, missing.value.code) == (404, "not_found")
            with pytest.raises(InvalidRequest, match="invalid_time_range"):
                await klen.create(title="T", start_time=NOON, end_time=NOON - HOUR)
            with pytest.raises(InvalidRequest, match="missing_parameter"):
                await klen.create(title="T", start_time=NOON)
            with pytest.raises(AgentNotFound):
                await klen.create(title="T", start_time=NOON, end_time=NOON + HOUR, ai_agent_id=7)
            with pytest.raises(TeamNotFound):
                await klen.create(title="T", start_time=NOON, end_time=NOON + HOUR, team_id=7)
            with pytest.raises(PermissionDenied):
                await accounts.of("read").cancel("123")
            with pytest.raises(Unauthorized):
                await accounts.of("none").event("123")
