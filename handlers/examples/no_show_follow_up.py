"""Write to customers who did not come: one message for each appointment, however often Klen reports it.

    [handlers.no_show_follow_up]
    url = "https://mail.example.com/send"
    text = "We missed you, {name}. Would you like another date?"

Klen has no webhook of its own for this: a no-show is whatever webhook has a status that says so.
"""

from __future__ import annotations

from receiver import Context, Discard, NoShow, Settings, on


class FollowUpSettings(Settings):
    """Which mail service, and what to write."""

    url: str
    """Gets a POST with `to` and `text`."""
    text: str = "We missed you, {name}. Would you like another date?"
    """`{name}` is replaced by the customer's name."""


@on(NoShow)
async def no_show_follow_up(event: NoShow, ctx: Context[FollowUpSettings]) -> None:
    """Write once; remember for which appointment."""
    appointment = event.state
    if not appointment.customer.email:
        raise Discard("the customer has no e-mail address")
    key = f"written:{appointment.uuid or appointment.id}"
    if await ctx.store.get(key):
        return
    text = ctx.settings.text.replace("{name}", appointment.customer.name or "dear customer")
    ctx.outbox.post(ctx.settings.url, json={"to": appointment.customer.email, "text": text})
    ctx.store.set(key, value=True)
