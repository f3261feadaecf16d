"""Traces, from the real service to a collector that speaks OTLP."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from receiver.traces import Traces, open_traces
from tests.support.klen import exchange, post, request, webhook
from tests.support.service import Process, write_config, write_plugin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

PLUGIN = """
from opentelemetry import trace
from receiver import CalendarCreated, RetryPolicy, on

tracer = trace.get_tracer("plugin")

@on(CalendarCreated)
async def hello(event):
    with tracer.start_as_current_span("mine"):
        pass

@on(CalendarCreated, retry=RetryPolicy(tries=1))
def fails(event):
    with tracer.start_as_current_span("in a thread"):
        pass
    raise ValueError("John Smith, john.smith@example.com")
"""


@dataclass
class Collector:
    """What has arrived."""

    port: int
    spans: list[Span] = field(default_factory=list)
    services: set[str] = field(default_factory=set)
    raw: bytes = b""

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    @property
    def environ(self) -> dict[str, str]:
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    async def take(asked: web.Request) -> web.Response:
        body = await asked.read()
        collector.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            collector.services |= {
                one.value.string_value for one in resource.resource.attributes if one.key == "service.name"
            }
            for scope in resource.scope_spans:
                collector.spans += scope.spans
        return web.Response(body=b"", content_type="application/x-protobuf")

    application = web.Application()
    application.router.add_post("/v1/traces", take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    collector = Collector(runner.addresses[0][1])
    yield collector
    await runner.cleanup()


def attributes(span: Span) -> dict[str, str | int | bool]:
    return {
        one.key.removeprefix("klenhook."): getattr(one.value, one.value.WhichOneof("value"))
        for one in span.attributes
    }


async def test_one_trace_goes_from_the_request_to_the_handlers(tmp_path: Path, unused_tcp_port: int) -> None:
    """Its id is that of the event; attempts and repetitions hang below it, and what handlers trace below those."""
    write_plugin(tmp_path, PLUGIN)
    write_config(tmp_path, port=unused_tcp_port)
    async with collecting() as collector:
        with Process(tmp_path, port=unused_tcp_port, env=collector.environ) as service:
            await asyncio.to_thread(service.wait_ready)
            answer = await post(unused_tcp_port, webhook())
            await post(unused_tcp_port, webhook())
            await exchange(unused_tcp_port, request(b"{}", {"X-Klen-Signature": "0" * 64}))
            async with asyncio.timeout(20):
                while len(collector.spans) < 6:
                    await asyncio.sleep(0.02)
            assert await asyncio.to_thread(service.terminate) == 0

    trace_id = bytes.fromhex(answer.json["event_id"].replace("-", ""))
    assert {span.trace_id for span in collector.spans} == {trace_id}
    assert collector.services == {"klenhook"}
    first, second = sorted(collector.named("receive klen"), key=lambda span: span.start_time_unix_nano)
    assert (first.parent_span_id, second.parent_span_id) == (b"", first.span_id)
    assert [attributes(span)["outcome"] for span in (first, second)] == ["accepted", "duplicate"]
    [hello], [fails] = collector.named("handle hello"), collector.named("handle fails")
    assert {hello.parent_span_id, fails.parent_span_id} == {first.span_id}
    assert (attributes(hello)["outcome"], hello.status.code) == ("done", 0)
    assert (attributes(fails)["outcome"], fails.status.code) == ("dead", 2)
    assert attributes(fails)["attempt"] == 1
    assert collector.named("mine")[0].parent_span_id == hello.span_id
    assert collector.named("in a thread")[0].parent_span_id == fails.span_id
    assert first.start_time_unix_nano <= first.end_time_unix_nano <= hello.end_time_unix_nano


async def test_nothing_of_a_body_is_traced(tmp_path: Path, unused_tcp_port: int) -> None:
    """Names, addresses, unknown types and texts of exceptions stay here."""
    write_plugin(tmp_path, PLUGIN)
    write_config(tmp_path, port=unused_tcp_port)
    async with collecting() as collector:
        with Process(tmp_path, port=unused_tcp_port, env=collector.environ) as service:
            await asyncio.to_thread(service.wait_ready)
            await post(unused_tcp_port, webhook(), delivery_id="delivery-77")
            await post(unused_tcp_port, webhook("made.up"))
            async with asyncio.timeout(20):
                while len(collector.spans) < 6:
                    await asyncio.sleep(0.02)
            assert await asyncio.to_thread(service.terminate) == 0

    for text in (b"John", b"example.com", b"made.up", b"delivery-77", b"Client Meeting"):
        assert text not in collector.raw


async def test_a_part_is_sampled_whole(tmp_path: Path, unused_tcp_port: int) -> None:
    """With a ratio, about that part of the events is traced, each from its root to its handlers or not at all."""
    write_plugin(tmp_path, PLUGIN.replace("raise", "# raise"))
    write_config(tmp_path, port=unused_tcp_port)
    sampler = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.3"}
    async with collecting() as collector:
        with Process(tmp_path, port=unused_tcp_port, env=collector.environ | sampler) as service:
            await asyncio.to_thread(service.wait_ready)
            for number in range(100):
                await post(unused_tcp_port, webhook(id=number, uuid=None))
            await asyncio.sleep(1)
            assert await asyncio.to_thread(service.terminate) == 0

    roots = {span.trace_id for span in collector.named("receive klen")}
    assert 10 <= len(roots) <= 55
    assert roots == {span.trace_id for span in collector.named("handle hello")}


async def test_a_collector_that_is_gone_harms_nothing(tmp_path: Path, unused_tcp_port: int) -> None:
    """Events are taken in and handled, and the service stops in time."""
    write_plugin(tmp_path, PLUGIN)
    write_config(tmp_path, port=unused_tcp_port)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        environ = Collector(deaf.getsockname()[1]).environ
        with Process(tmp_path, port=unused_tcp_port, env=environ) as service:
            await asyncio.to_thread(service.wait_ready)
            for number in range(5):
                assert (await post(unused_tcp_port, webhook(id=number))).status == 200
            await asyncio.sleep(0.3)
            assert await asyncio.to_thread(service.terminate) == 0


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_traces_are_off_unless_asked_for(environ: dict[str, str]) -> None:
    """Nothing is imported, and nothing sent."""
    assert type(open_traces(environ)) is Traces


def test_without_the_extra_that_is_told(tmp_path: Path, unused_tcp_port: int) -> None:
    """The service runs without traces, and its log says what is missing."""
    write_config(tmp_path, port=unused_tcp_port)
    hiding = tmp_path / "hiding" / "opentelemetry"
    hiding.mkdir(parents=True)
    (hiding / "__init__.py").write_text("raise ImportError\n")
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(hiding.parent)}
    with Process(tmp_path, port=unused_tcp_port, env=environ) as service:
        service.wait_ready()
        assert service.terminate() == 0

    assert "klenhook[otel] is not installed" in service.output.read_text()
