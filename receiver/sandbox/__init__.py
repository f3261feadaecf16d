"""A local Klen, as faithful as the vendor's pages allow: its Calendar API, its webhooks, and their failures.

    sandbox.py         the whole of it as one object with `start()` and `stop()`
    world.py           the account: appointments and what happens to them (pure)
    appointment.py     an appointment, and how the vendor shows it
    account.py         the world together with the time and with those who hear of it
    fields.py          what a request may say about one
    availability.py    when the account has time
    calendar_file.py   an appointment as .ics
    api.py             the Calendar API over HTTP
    management.py      registering webhooks over HTTP
    webhooks.py        the registrations
    keys.py            API keys, permissions and limits
    errors.py          the vendor's errors, word for word
    application.py     the listener around all addresses
    clock.py           the sandbox's own time
    agenda.py          what is due later
    delivery.py        one event on its way to one webhook
    courier.py         sends, and tries again
    post.py            one request to an endpoint
    faults.py          what goes wrong on request
    drawn.py           what looks random and is repeatable
    burst.py           many appointments at once
    invention.py       made-up appointments
    scenario.py        stories in TOML; `stories/` has two
    invariants.py      what a klenhook log must have after what was sent
    control.py         addresses for what nobody can ask of the real vendor
    page/              the page for people
    archive.py         the state in a file
    durations.py       spans of time as people type them

It shares with the receiver what both must agree on (the signature, the names of events) and nothing else.
"""

from __future__ import annotations

from receiver.sandbox.errors import SandboxError
from receiver.sandbox.faults import Faults
from receiver.sandbox.keys import APIKey
from receiver.sandbox.sandbox import Sandbox

__all__ = ["APIKey", "Faults", "Sandbox", "SandboxError"]
