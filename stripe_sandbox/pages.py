"""The pages a customer would see: the list of sessions, and the page that pays, declines or cancels one."""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path

from aiohttp import web

from shared.http.body import read_bytes
from shared.http.static_files import StaticFile, send_static, static_file
from stripe_sandbox.api import LEDGER, MAX_BODY_BYTES
from stripe_sandbox.currencies import format_amount
from stripe_sandbox.errors import StripeError
from stripe_sandbox.form import parse_pairs
from stripe_sandbox.ledger import Ledger
from stripe_sandbox.payments import DECLINED, decline, pay, settle
from stripe_sandbox.sessions import contents_of
from stripe_sandbox.store import Object

NOTICE = "This is a sandbox: no real money moves here."
WEB = Path(__file__).resolve().parents[1] / "web"
# No `form-action`: browsers apply it to the redirect that follows the form too, which leads to the shop.
POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'"
CHOICES = frozenset({"pay", "decline", "cancel"})


def render_page(title: str, body: str, status: int = 200) -> web.Response:
    """Return an HTML page; `body` is HTML, `title` is text."""
    html = f"""<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{escape(title)} · Stripe sandbox</title>
  <link rel="icon" href="/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="/design.css">
</head>
<body>
  <header class="bar"><div class="bar-inside"><a class="brand" href="/">Stripe sandbox</a></div></header>
  <main class="narrow">
    <h1>{escape(title)}</h1>
    {body}
    <p class="note">{NOTICE}</p>
  </main>
</body>
</html>
"""
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(status=status, text=html, content_type="text/html", headers=headers)


def render_refusal(message: str, status: int, session: Object | None = None) -> web.Response:
    """Return a page that says why nothing happened, with the way back to the shop of `session`."""
    onwards = _shop_link(session) if session else '<a href="/">All sessions</a>'
    return render_page(
        "Nothing happened", f'<p class="alert" role="alert">{escape(message)}</p><p>{onwards}</p>', status
    )


def _destination(session: Object, name: str) -> str:
    """Return an address of the session's as it goes into a header or a link: ASCII, and quoted no further."""
    url = session[name].replace("{CHECKOUT_SESSION_ID}", session["id"])
    return "".join(c if c.isascii() else "".join(f"%{byte:02X}" for byte in c.encode()) for c in url)


def _shop_link(session: Object) -> str:
    name = next((name for name in ("return_url", "success_url") if session[name]), "")
    return f'<a class="button" href="{escape(_destination(session, name))}">Back to the shop</a>' if name else ""


async def list_sessions(request: web.Request) -> web.Response:
    """`GET /`: the newest sessions, each with a link to its pay page."""
    ledger = request.app[LEDGER]
    ledger.expire_overdue()
    rows = "".join(
        f'<tr><td><a href="/pay/{escape(session["id"])}">{escape(session["id"][:24])}…</a></td>'
        f"<td>{escape(format_amount(session['amount_total'], session['currency']))}</td>"
        f"<td>{escape(session['status'])}, {escape(session['payment_status'])}</td></tr>"
        for session in ledger.store.select("checkout.session")
    )
    table = (
        '<div class="card"><table class="blocks"><caption>The newest first</caption><thead><tr><th scope=col>Session</th>'
        f"<th scope=col>Amount</th><th scope=col>State</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )
    return render_page(
        "Checkout sessions", table if rows else '<p class="empty">There are no checkout sessions yet.</p>'
    )


async def show_session(request: web.Request) -> web.Response:
    """`GET /pay/{id}`: what is sold, and the form."""
    ledger = request.app[LEDGER]
    ledger.expire_overdue()
    session = ledger.require("checkout.session", request.match_info["id"])
    if session["status"] == "complete":
        return render_refusal("This session has been paid already. Nothing was charged again.", 409, session)
    if session["status"] != "open":
        raise StripeError("This session has expired. Nothing was charged.", status=410)
    return _pay_page(ledger, session)


async def answer_form(request: web.Request) -> web.Response:
    """`POST /pay/{id}`: one of the three buttons, or the whole request is refused."""
    ledger = request.app[LEDGER]
    said = {text.lower() for pair in parse_pairs(await read_bytes(request, max_bytes=MAX_BODY_BYTES)) for text in pair}
    chosen = said & CHOICES
    if len(chosen) != 1:
        raise StripeError("Choose one of Pay, Decline and Cancel.")
    session_id = request.match_info["id"]
    ledger.expire_overdue()
    with ledger.store.transaction():
        if chosen == {"pay"}:
            session = pay(ledger, session_id, delayed="delayed" in said)
            return _leave(session, "return_url", "success_url")
        if chosen == {"decline"}:
            return _pay_page(ledger, decline(ledger, session_id), DECLINED)
        session = ledger.require("checkout.session", session_id)
        return _leave(session, "cancel_url")


async def settle_session(request: web.Request) -> web.Response:
    """`POST /pay/{id}/settle`: bring a delayed payment to its end, `outcome=succeeded` or `failed`."""
    ledger = request.app[LEDGER]
    outcome = dict(parse_pairs(await read_bytes(request, max_bytes=MAX_BODY_BYTES))).get("outcome", "succeeded")
    if outcome not in {"succeeded", "failed"}:
        raise StripeError("The outcome is either succeeded or failed.")
    with ledger.store.transaction():
        settle(ledger, request.match_info["id"], succeeds=outcome == "succeeded")
    return render_page("Settled", f"<p>The delayed payment has {outcome}.</p>")


def _leave(session: Object, *destinations: str) -> web.Response:
    """Send the browser where the session says, or say here how it ended."""
    for name in destinations:
        if session[name]:
            # The header is written as it stands: a URL class would quote the id's braces or the shop's own escapes.
            headers = {"Location": _destination(session, name), "Cache-Control": "no-store"}
            return web.Response(status=303, headers=headers)
    back = f'<a class="button primary" href="/pay/{escape(session["id"])}">Back to the payment</a>'
    return render_page(
        "Payment cancelled", f'<p>Nothing was charged.</p><p class="row">{back} {_shop_link(session)}</p>'
    )


def _pay_page(ledger: Ledger, session: Object, alert: str = "") -> web.Response:
    currency = session["currency"]
    lines = contents_of(ledger, session["id"])["lines"]
    rows = "".join(
        f"<tr><td>{escape(line['description'])}</td><td>{line['quantity']}</td>"
        f'<td class="number">{escape(format_amount(line["amount_total"], currency))}</td></tr>'
        for line in lines
    )
    total = escape(format_amount(session["amount_total"], currency))
    buttons = " ".join(
        f'<button{css} type="submit" name="action" value="{name.lower()}">{name}</button>'
        for name, css in (("Pay", ' class="primary"'), ("Decline", ""), ("Cancel", ""))
    )
    body = f"""{f'<p class="alert" role="alert">{escape(alert)}</p>' if alert else ""}
    <div class="card">
      <table>
        <caption>What you are buying</caption>
        <thead><tr><th scope="col">Item</th><th scope="col">Quantity</th><th scope="col" class="number">Amount</th></tr></thead>
        <tbody>{rows}</tbody>
        <tfoot><tr><th scope="row" colspan="2">Total</th><td class="number">{total}</td></tr></tfoot>
      </table>
      <form class="stack" method="post" action="/pay/{escape(session["id"])}">
        <p class="field">
          <label for="method">Payment method</label>
          <select id="method" name="method">
            <option value="card">Card</option><option value="delayed">Bank debit, settled later</option>
          </select>
        </p>
        <p class="row">{buttons}</p>
      </form>
    </div>"""
    return render_page(f"Pay {format_amount(session['amount_total'], currency)}", body)


@cache
def _looks() -> dict[str, StaticFile]:
    files = {"design.css": WEB / "design.css", "icon.svg": WEB / "pages" / "icon.svg"}
    return {name: static_file(name, path.read_bytes()) for name, path in files.items()}


async def show_looks(request: web.Request) -> web.Response:
    """`GET /design.css` and `/icon.svg`: the look that all pages share."""
    return send_static(request, _looks(), request.path[1:], {"X-Content-Type-Options": "nosniff"})


ROUTES = (
    web.get("/", list_sessions),
    web.get("/design.css", show_looks),
    web.get("/icon.svg", show_looks),
    web.get("/pay/{id}{slash:/?}", show_session),
    web.post("/pay/{id}{slash:/?}", answer_form),
    web.post("/pay/{id}/settle{slash:/?}", settle_session),
)
