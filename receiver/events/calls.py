"""The six call webhooks as typed events.

https://docs.klen.ai/api-reference/webhooks/call-events

They may come to the same address as the calendar's. The rule easiest to break: the vendor's pages
contradict each other on ids (42 here, `call_6789` there), so those may be numbers or text.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator

from receiver.events.base import AnyEvent, Identifier, Instant, Integer, Model, Text, nested

__all__ = [
    "AnyCall",
    "Call",
    "CallEnded",
    "CallFailed",
    "CallRecording",
    "CallStarted",
    "CallSummary",
    "CallTranscript",
    "Contact",
]


class Contact(Model):
    """The person called or calling, where the vendor knows them."""

    id: Identifier = None
    """The vendor's number of the contact."""
    name: Text = None
    """Full name."""
    email: Text = None
    """E-mail address, unchecked."""


class Call(Model):
    """A phone call as the webhook shows it. Which attributes are there depends on the webhook."""

    id: Identifier = None
    """The vendor's id of the call: a number, or text such as `call_6789`."""
    klen_call_id: Text = None
    """The call's other id, `call_id` in the vendor's API."""
    agent_id: Identifier = None
    """The AI agent's id: a number, or text such as `assistant_12345`."""
    agent_name: Text = None
    """The AI agent's name."""
    assistant_id: Text = None
    """In `call.started`: the agent's id at the voice platform."""
    status: Text = None
    """`queued`, `in-progress`, `completed`, `failed`, or what the vendor adds."""
    type: Text = None
    """`inbound` or `outbound`."""
    phone_number: Text = None
    """The other side's number."""
    started_at: Instant = None
    """Beginning, in UTC."""
    ended_at: Instant = None
    """End, in UTC."""
    duration_seconds: Integer = None
    """Length in seconds."""
    duration: Integer = None
    """In `call.ended`: length in seconds once more."""
    contact: Annotated[Contact | None, BeforeValidator(nested)] = None
    """The person, if the vendor knows them."""
    summary: Text = None
    """In `call.summary`, and in `call.ended` if there is one yet: what was said, in short."""
    transcript: Text = None
    """In `call.transcript`: the words. A long one may be at `transcript_url` only."""
    transcript_url: Text = None
    """In `call.transcript`: address of a long transcript. From outside: do not fetch it unasked."""
    recording_url: Text = None
    """In `call.recording`, at times in `call.ended`: address of the sound. Do not fetch it unasked."""
    failure_reason: Text = None
    """In `call.failed`: why, in words."""
    ended_reason: Text = None
    """In `call.failed`: why, as a code such as `no-answer` or `busy`; open-ended."""


class AnyCall(AnyEvent):
    """Any of the six call webhooks."""

    call: Annotated[Call, BeforeValidator(lambda value: nested(value) or {})] = Call()
    """The call as it is after what happened. Always there; empty when the payload has none."""


class CallStarted(AnyCall):
    """A call began."""

    type_name: ClassVar[str] = "call.started"


class CallEnded(AnyCall):
    """A call is over."""

    type_name: ClassVar[str] = "call.ended"


class CallFailed(AnyCall):
    """A call did not come about; `call.ended_reason` says why."""

    type_name: ClassVar[str] = "call.failed"


class CallTranscript(AnyCall):
    """The transcript of a call is ready."""

    type_name: ClassVar[str] = "call.transcript"


class CallRecording(AnyCall):
    """The recording of a call is ready."""

    type_name: ClassVar[str] = "call.recording"


class CallSummary(AnyCall):
    """The summary of a call is ready."""

    type_name: ClassVar[str] = "call.summary"
