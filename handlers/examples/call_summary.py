"""File the summary of every call as a note in a CRM.

    [handlers.call_summary]
    url = "https://crm.example.com/api/notes"
    token = "env:CRM_TOKEN"

The outbox sends the note after the run is done, and again until the CRM has taken it, each time with the same
`Idempotency-Key`.
"""

from __future__ import annotations

from pydantic import Field, SecretStr

from receiver import CallSummary, Context, Discard, Settings, on


class NoteSettings(Settings):
    """Which CRM."""

    url: str
    """Gets a POST for every note."""
    token: SecretStr = Field(min_length=1)
    """Sent as `Authorization: Bearer`."""


@on(CallSummary)
async def call_summary(event: CallSummary, ctx: Context[NoteSettings]) -> None:
    """Post the note; a call without a summary has none."""
    call = event.call
    if not call.summary:
        raise Discard("the call has no summary")
    minutes = round((call.duration_seconds or 0) / 60)
    ctx.outbox.post(
        ctx.settings.url,
        json={
            "about": call.contact.email if call.contact else None,
            "phone": call.phone_number,
            "title": f"{(call.type or 'phone').capitalize()} call, {minutes} min",
            "text": call.summary,
            "call": call.klen_call_id or str(call.id),
        },
        headers={"Authorization": f"Bearer {ctx.settings.token.get_secret_value()}"},
    )
