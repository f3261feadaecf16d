"""What `klenhook demo` shows: the real service in a folder of its own, and the deliveries it is sent.

stage.py   the temporary folder, the service as a process, and the command line asked about it
script.py  what is sent, what must come of it, and what differs
"""

from __future__ import annotations

from receiver.demo.script import Delivery, Performance, deliveries
from receiver.demo.stage import Stage, on_stage

__all__ = ["Delivery", "Performance", "Stage", "deliveries", "on_stage"]
