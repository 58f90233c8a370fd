"""Starts the simulated upstreams, a third-party MCP server and the gateway once, and gives each test a clean record.

The binary is `OUTCROP_BIN`, else the debug build of this checkout.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from drivers.ask import Ask  # noqa: E402
from drivers.registry import CLIENTS, GIVEN  # noqa: E402
from stack.certificates import Certificates, make_certificates  # noqa: E402
from stack.everything import EverythingOverHttp  # noqa: E402
from stack.gateway import Gateway, GatewayPorts, configuration  # noqa: E402
from stack.lab import Lab  # noqa: E402
from stack.process import free_ports  # noqa: E402


@pytest.fixture(scope="session")
def binary() -> Path:
    """The binary under test."""
    path = Path(os.environ.get("OUTCROP_BIN", HERE.parents[1] / "target/debug/outcrop")).resolve()
    assert path.exists(), f"{path} does not exist; build it or set OUTCROP_BIN"
    return path


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where configuration and logs of the run go."""
    return tmp_path_factory.mktemp("outcrop")


@pytest.fixture(scope="session")
def lab_process(binary: Path, work: Path) -> Iterator[Lab]:
    """The simulated upstreams."""
    lab = Lab(binary, work)
    yield lab
    lab.stop()


@pytest.fixture
def lab(lab_process: Lab) -> Iterator[Lab]:
    """The simulated upstreams, healthy and with empty records; healed again after the test."""
    lab_process.reset()
    yield lab_process
    lab_process.reset()


@pytest.fixture(scope="session")
def everything(work: Path) -> Iterator[EverythingOverHttp]:
    """A third-party MCP server over HTTP."""
    server = EverythingOverHttp(free_ports(1)[0], work)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def certificates(work: Path) -> Certificates:
    """An authority and a server certificate of this run."""
    return make_certificates(work)


@pytest.fixture(scope="session")
def start_gateway(
    binary: Path, work: Path, lab_process: Lab, everything: EverythingOverHttp
) -> Iterator[Callable[..., Gateway]]:
    """Starts further gateways: `start_gateway("name", tls=certificates)`."""
    started: list[Gateway] = []

    def start(name: str, tls: Certificates | None = None, **settings: Any) -> Gateway:
        ports = GatewayPorts(*free_ports(2))
        file = configuration(ports, lab_process.at, everything.url, binary, tls, **settings)
        started.append(Gateway(binary, ports, file, work / name, tls=tls is not None))
        return started[-1]

    yield start
    for gateway in started:
        gateway.stop()


@pytest.fixture(scope="session")
def gateway_process(start_gateway: Callable[..., Gateway]) -> Gateway:
    """The gateway most tests talk to."""
    return start_gateway("gateway")


@pytest.fixture
def gateway(gateway_process: Gateway, lab: Lab) -> Iterator[Gateway]:
    """The running gateway over healthy upstreams; it must outlive the test."""
    yield gateway_process
    assert gateway_process.alive(), f"the gateway died\n{gateway_process.log_end()}"


@pytest.fixture(scope="session", autouse=True)
def stop_clients() -> Iterator[None]:
    """Ends the drivers' processes at the end of the run."""
    yield
    for driver in CLIENTS.values():
        driver.stop()


Run = Callable[..., dict[str, Any]]


def merged(given: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What the test wants over what the client always needs, one level deep."""
    deep = {key: {**given[key], **wanted[key]} for key in given.keys() & wanted.keys() if isinstance(given[key], dict)}
    return {**given, **wanted, **deep}


@pytest.fixture
def run(gateway: Gateway) -> Run:
    """Runs an ask on a client: `run("boto3", "on-bedrock", op="stream", text="…")`."""

    def carry_out(client: str, model: str, **wanted: Any) -> dict[str, Any]:
        return CLIENTS[client].run(Ask(**{"base": gateway.base, "model": model, **wanted, "extra": merged(GIVEN.get(client, {}), wanted.get("extra", {}))}))

    return carry_out
