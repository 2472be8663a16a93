"""A real nginx (Debian's nginx-light) before a gateway."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import ServerDidNotStart, server

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy/nginx/keepsake.conf"
WHOLE = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {server}
}}
"""


def defaults(port: int, gateway: str) -> str:
    """Return a server that says nothing but where to go."""
    return f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {gateway}; }} }}"


def example(port: int, gateway: str, certificate: Path | None = None) -> str:
    """Return the example of `deploy/`; without a certificate it speaks HTTP."""
    text = EXAMPLE.read_text().replace("http://127.0.0.1:8080", gateway)
    tls = " ssl" if certificate else ""
    text, changed = re.subn(r"listen 443 ssl ", f"listen 127.0.0.1:{port}{tls} ", text)
    assert changed == 1
    if certificate:
        return re.sub(r"(ssl_certificate(?:_key)?) .*;", rf"\1 {certificate};", text)
    return re.sub(r"^ *ssl_certificate.*$", "", text, flags=re.MULTILINE)


@contextmanager
def nginx_before(gateway: str, folder: Path, block: Callable[[int, str], str]) -> Iterator[int]:
    """Run nginx with a server block made for its port and the gateway's address; give the port.

    A missing nginx fails the test.
    """
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise ServerDidNotStart("nginx is missing: apt-get install nginx-light")
    folder.mkdir()

    def command(port: int) -> tuple[str | Path, ...]:
        config = folder / "nginx.conf"
        config.write_text(WHOLE.format(folder=folder, server=block(port, gateway)))
        return (binary, "-c", config, "-e", folder / "error.log", "-p", folder)

    with server(command, log=folder / "nginx.log", stop_signal=signal.SIGTERM) as port:
        yield port
