"""A headless Chromium, where one is installed, driven over its DevTools protocol: keys in, page out.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
EXECUTABLE = next((found for name in NAMES if (found := shutil.which(name))), None)
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "Escape": (27, ""), " ": (32, " ")}


class Browser:
    """One page, and what went wrong on it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self._socket = socket
        self._numbers = count(1)

    async def command(self, method: str, **parameters: Any) -> Any:
        """Send a command, and take note of complaints until its answer comes."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(30):
            while True:
                said = await self._socket.receive_json()
                if said.get("id") == number:
                    assert "error" not in said, said
                    return said["result"]
                if said["method"] in {"Runtime.exceptionThrown", "Log.entryAdded"}:
                    self.complaints.append(str(said["params"]))

    async def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log"):
            await self.command(f"{domain}.enable")
        await self.command("Page.navigate", url=url)
        await self.until("document.readyState == 'complete'")

    async def evaluate(self, expression: str) -> Any:
        result = await self.command("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until this is true on the page."""
        async with asyncio.timeout(30):
            while not await self.evaluate(expression):
                await asyncio.sleep(0.05)

    async def press(self, key: str) -> None:
        code, text = KEYS[key]
        event = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}
        await self.command("Input.dispatchKeyEvent", type="keyDown", **event)
        await self.command("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)

    async def tab_to(self, wanted: str) -> None:
        """Press Tab until the element with this id or name has the focus."""
        for _ in range(100):
            await self.press("Tab")
            if await self.evaluate("document.activeElement.id || document.activeElement.name") == wanted:
                return
        raise AssertionError(f"Tab does not lead to {wanted}.")

    async def type(self, text: str) -> None:
        """Type into what has the focus, over what is there."""
        await self.evaluate("document.activeElement.select()")
        await self.command("Input.insertText", text=text)


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Browser]:
    """A browser with a profile of its own in this folder."""
    assert EXECUTABLE is not None
    process = await asyncio.create_subprocess_exec(
        EXECUTABLE,
        "--headless=new",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
        "--no-first-run",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-sandbox",  # containers have no user namespaces, and it sees our own page only
        "about:blank",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession() as session:
            address = await _page_address(session, folder)
            async with session.ws_connect(address, max_msg_size=0) as socket:
                yield Browser(socket)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _page_address(session: aiohttp.ClientSession, folder: Path) -> str:
    port_file = folder / "DevToolsActivePort"
    async with asyncio.timeout(60):
        while not (port_file.exists() and port_file.read_text().strip()):
            await asyncio.sleep(0.05)
        port = port_file.read_text().split()[0]
        while True:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [one for one in await answer.json() if one["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
            await asyncio.sleep(0.05)
