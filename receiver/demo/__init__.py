"""What `klenhook demo` shows: the real service and a local Klen in a folder of their own, and a story.

stage.py    the temporary folder, service and sandbox as processes, and the command line asked about them
account.py  what happens at the local Klen
script.py   the story: what is done, what must come of it, and what differs
"""

from __future__ import annotations

from receiver.demo.account import Account
from receiver.demo.script import Story
from receiver.demo.stage import Stage, on_stage

__all__ = ["Account", "Stage", "Story", "on_stage"]
