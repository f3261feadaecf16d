"""Klen's own API from our side: https://docs.klen.ai/api-reference/introduction.

errors.py     what a request may end in
models.py     what is answered
transport.py  one request: key, limit, tries
client.py     the Calendar API: `ctx.klen`
webhooks.py   registered webhooks
accounts.py   a client for each source
registering.py  where a new webhook's secret belongs
compare.py    what the log has missed of one appointment
reconcile.py  a comparison of the log with the API; recorder.py makes it part of the log
schedule.py   when the running service compares
"""

from __future__ import annotations

from receiver.klen.accounts import Accounts, NoTransport
from receiver.klen.client import STATUSES, Klen
from receiver.klen.errors import (
    AgentNotFound,
    FailedRequest,
    InvalidRequest,
    KlenError,
    MissingKey,
    NoAnswer,
    NotFound,
    OddAnswer,
    PermissionDenied,
    RateLimited,
    ServerError,
    TeamNotFound,
    Unauthorized,
)
from receiver.klen.models import Availability, EventDetails, EventPage, Made, Slot, Team, Webhook
from receiver.klen.transport import ApiTransport, Request, Transport

__all__ = [
    "STATUSES",
    "Accounts",
    "AgentNotFound",
    "ApiTransport",
    "Availability",
    "EventDetails",
    "EventPage",
    "FailedRequest",
    "InvalidRequest",
    "Klen",
    "KlenError",
    "Made",
    "MissingKey",
    "NoAnswer",
    "NoTransport",
    "NotFound",
    "OddAnswer",
    "PermissionDenied",
    "RateLimited",
    "Request",
    "ServerError",
    "Slot",
    "Team",
    "TeamNotFound",
    "Transport",
    "Unauthorized",
    "Webhook",
]
