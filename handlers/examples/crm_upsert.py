"""Keep a contact in a CRM for every customer who books: create it, or bring it up to date.

    [handlers.crm_upsert]
    url = "https://crm.example.com/api"
    token = "env:CRM_TOKEN"

PUT with an idempotency key may be sent again, so a retry makes no second contact. Webhooks may arrive late:
an older one never overwrites what a newer one said.
"""

from __future__ import annotations

from urllib.parse import quote

from pydantic import Field, SecretStr

from receiver import CalendarCreated, CalendarUpdated, Context, Discard, Settings, on

LONGEST_EMAIL = 200


class CrmSettings(Settings):
    """Which CRM."""

    url: str
    """Where the CRM's API begins; contacts are at `{url}/contacts/{e-mail}`."""
    token: SecretStr = Field(min_length=1)
    """Sent as `Authorization: Bearer`."""


@on(CalendarCreated, CalendarUpdated)
async def crm_upsert(event: CalendarCreated | CalendarUpdated, ctx: Context[CrmSettings]) -> None:
    """Put the customer's name and number under their e-mail address."""
    customer = event.calendar_event.customer
    email = (customer.email or "").strip().lower()
    if "@" not in email or len(email) > LONGEST_EMAIL or not email.isprintable():
        raise Discard("the customer has no usable e-mail address")
    occurred = (event.timestamp or event.received_at).timestamp()
    if occurred < await ctx.store.get(email, 0):
        return
    answer = await ctx.http.put(
        f"{ctx.settings.url.rstrip('/')}/contacts/{quote(email, safe='')}",
        json={"email": email, "name": customer.name, "phone": customer.phone},
        headers={
            "Authorization": f"Bearer {ctx.settings.token.get_secret_value()}",
            "Idempotency-Key": ctx.idempotency_key,
        },
    )
    answer.raise_for_status()
    ctx.store.set(email, occurred)
