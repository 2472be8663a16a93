"""What the doctor says of a real nginx before the gateway: as `deploy/` shows it, with its defaults, and set up badly."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.settings import GatewaySettings
from stack.doctor import outside
from stack.doctor.findings import run_checks
from tests.support.nginx import defaults, example, nginx_before
from tests.support.processes import free_port
from tests.support.stack import Stack, running_stack

GOOD = {"PUBLIC_URL", "TRUSTED_PROXIES", "body size", "time-outs", "one-time images"}


def badly(port: int, gateway: str) -> str:
    """Gather everything, wait for nobody, and believe whoever says who he is."""
    return f"""server {{
        listen 127.0.0.1:{port}; client_body_timeout 1s; client_max_body_size 0;
        location / {{ proxy_pass {gateway}; proxy_ignore_headers X-Accel-Buffering; proxy_buffers 64 128k; }}
    }}"""


def certificate(folder: Path, days: int, address: str = "127.0.0.1") -> Path:
    """Make a key and its own certificate for an address in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "images.shop.example")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days, hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{days}.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    trusted = {"TRUSTED_PROXIES": "127.0.0.1/32"}
    with running_stack(tmp_path_factory.mktemp("stack"), trusted, "temp-image", "gateway") as whole:
        yield whole


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "PAUSE_S", 2.5)
    monkeypatch.setattr(outside, "GIVEN_BACK_S", 3.0)


async def said_of(stack: Stack, public_url: str, ca: Path | None = None, **changed: Any) -> dict[str, str]:
    """Let the doctor look at an address; return the state of each thing."""
    said = {
        "port": stack.ports["gateway"],
        "public_url": public_url,
        "internal_secret": stack.settings["INTERNAL_SECRET"],
        "jwt_secret_key": stack.settings["JWT_SECRET_KEY"],
        "trusted_proxies": "127.0.0.1/32",
        **changed,
    }
    settings = GatewaySettings(_env_file=None, **said)
    findings = await run_checks({"outside": outside.Outside(settings, str(ca) if ca else None).check})
    return {finding.what: finding.state for finding in findings}


@asynccontextmanager
async def proxy(
    stack: Stack, folder: Path, block: Callable[[int, str], str], scheme: str = "http"
) -> AsyncIterator[str]:
    with nginx_before(stack.url("gateway"), folder / "nginx", block) as port:
        yield f"{scheme}://127.0.0.1:{port}"


async def test_nginx_as_the_example_shows_it_is_right(behind: Stack, tmp_path: Path) -> None:
    file = certificate(tmp_path, 90)
    async with proxy(behind, tmp_path, partial(example, certificate=file), "https") as url:
        assert await said_of(behind, url, file) == dict.fromkeys({*GOOD, "certificate"}, "right")


async def test_a_certificate_that_nobody_trusts_or_that_ends_soon_is_wrong(behind: Stack, tmp_path: Path) -> None:
    file = certificate(tmp_path, 5)
    async with proxy(behind, tmp_path, partial(example, certificate=file), "https") as url:
        assert (await said_of(behind, url))["certificate"] == "wrong"
        said = await said_of(behind, url, file)
    assert {what for what, state in said.items() if state == "wrong"} == {"certificate"}


@pytest.mark.parametrize(("days", "address"), [(-1, "127.0.0.1"), (90, "192.0.2.7")])
async def test_a_certificate_that_has_ended_or_is_anothers_is_wrong(
    behind: Stack, tmp_path: Path, days: int, address: str
) -> None:
    file = certificate(tmp_path, days, address)
    async with proxy(behind, tmp_path, partial(example, certificate=file), "https") as url:
        said = await said_of(behind, url, file)
    assert (said["certificate"], said["PUBLIC_URL"]) == ("wrong", "wrong")


async def test_an_https_address_that_speaks_none_is_wrong(behind: Stack, tmp_path: Path) -> None:
    async with proxy(behind, tmp_path, example) as url:
        assert (await said_of(behind, url.replace("http:", "https:")))["certificate"] == "wrong"


async def test_a_proxy_that_does_not_say_which_scheme_clients_use_is_wrong(behind: Stack, tmp_path: Path) -> None:
    file = certificate(tmp_path, 90)

    def with_tls(port: int, gateway: str) -> str:
        return re.sub(r".*X-Forwarded-Proto.*", "", example(port, gateway, certificate=file))

    async with proxy(behind, tmp_path, with_tls, "https") as url:
        said = await said_of(behind, url, file)
    assert {what for what, state in said.items() if state == "wrong"} == {"TRUSTED_PROXIES"}


async def test_nginxs_defaults_are_wrong_about_sizes_and_claims(behind: Stack, tmp_path: Path) -> None:
    async with proxy(behind, tmp_path, defaults) as url:
        said = await said_of(behind, url)
    wrong = {what for what, state in said.items() if state == "wrong"}
    # Its system's buffers may take a whole image, or not: docs/operations.md.
    assert wrong - {"one-time images"} == {"body size", "TRUSTED_PROXIES"}


async def test_a_proxy_that_gathers_and_does_not_wait_is_wrong(behind: Stack, tmp_path: Path) -> None:
    async with proxy(behind, tmp_path, badly) as url:
        said = await said_of(behind, url)
    assert {what for what, state in said.items() if state == "wrong"} == {
        "one-time images",
        "time-outs",
        "TRUSTED_PROXIES",
    }


async def test_a_proxy_that_is_not_trusted_is_wrong(behind: Stack, tmp_path: Path) -> None:
    async with proxy(behind, tmp_path, example) as url:
        assert (await said_of(behind, url, trusted_proxies="10.0.0.0/8"))["TRUSTED_PROXIES"] == "wrong"


async def test_without_a_proxy_there_is_nothing_more_to_ask(behind: Stack) -> None:
    assert await said_of(behind, f"http://localhost:{behind.ports['gateway']}") == {"PUBLIC_URL": "right"}


async def test_an_address_that_leads_elsewhere_is_wrong(behind: Stack) -> None:
    assert await said_of(behind, f"http://127.0.0.1:{free_port()}") == {"PUBLIC_URL": "wrong"}


async def test_a_gateway_that_does_not_run_is_no_fault_of_its_address(behind: Stack) -> None:
    assert await said_of(behind, "http://127.0.0.1:1", port=free_port()) == {"PUBLIC_URL": "unknown"}
