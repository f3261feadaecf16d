"""Forgetting a person: what the log knows of somebody goes, and what the calendar needs stays.

    person.py      who is meant, and whether something is theirs or mentions them
    redact.py      a body without what people said
    finding.py     what there is
    forgetting.py  taking it out

The rule easiest to break: an event stays an event. Its ids, kinds, times and statuses remain, so that counts,
histories and the recognition of repeated deliveries go on as before.
"""

from __future__ import annotations

from receiver.forget.finding import Found, find
from receiver.forget.forgetting import NotRoutedError, forget
from receiver.forget.person import Person

__all__ = ["Found", "NotRoutedError", "Person", "find", "forget"]
