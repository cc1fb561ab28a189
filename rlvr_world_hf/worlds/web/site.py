"""
A small web site for world models: shop, cart, tasks, search, settings, account and help, linked and full of forms.

It runs on loopback without a script in its pages. A seed decides what the site offers. A visitor's session decides
what the visit begins with; the server keeps it under the cookie `session`. Nothing depends on the time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from jinja2 import Environment, StrictUndefined


PRODUCTS = (
    "Apron",
    "Basket",
    "Candle",
    "Drum",
    "Easel",
    "Flute",
    "Globe",
    "Kettle",
    "Lamp",
    "Mug",
    "Notebook",
    "Vase",
)
TASKS = ("Buy milk", "Call Ben", "Fix bike", "Mow lawn", "Pay rent", "Read map", "Sew coat", "Water plants")
WORDS = ("amber", "cedar", "indigo", "maple", "violet")
SETTINGS = {"newsletter": "Newsletter", "stock": "Show stock", "hide": "Hide done tasks"}
TOPICS = ("Order", "Payment", "Other")
QUESTIONS = {"How do I pay?": "By invoice.", "Can I return things?": "Within a month."}
AREAS = ("shop", "cart", "tasks", "search", "settings", "account", "help")
"""The first part of a page's path."""

PAGE = Environment(autoescape=True, undefined=StrictUndefined).from_string(
    "".join(line.strip() for line in Path(__file__).with_suffix(".html").read_text(encoding="utf-8").splitlines()),
    {"areas": AREAS, "labels": SETTINGS, "questions": QUESTIONS, "topics": TOPICS},
)
"""The template of all pages."""

Form = dict[str, str]


class Site:
    """
    The site as one visitor meets it: pages as HTML, and what forms change.

    Args:
        seed (`int`):
            Decides products, prices and the guest's password.
        session (`int`):
            Decides what the visitor's cart and tasks begin with.

    Example:

    ```python
    >>> site = Site(seed=0, session=0)
    >>> site.post("/account", {"user": "ann", "password": site.password})
    '/account'
    >>> "Signed in as ann." in site.get("/account")
    True

    ```
    """

    def __init__(self, *, seed: int, session: int) -> None:
        # The words keep the streams of one number apart, and a text seeds `Random` alike in each process.
        rng = random.Random(f"site {seed}")
        names = sorted(rng.sample(PRODUCTS, 5))
        self.prices = {name: rng.randint(2, 20) for name in names}
        self.stock = {name: rng.randint(2, 5) for name in names}
        self.password = rng.choice(WORDS)
        rng = random.Random(f"site {seed} session {session}")
        self.cart = dict.fromkeys(sorted(rng.sample(names, rng.randint(0, 2))), 1)
        self.tasks = {name: rng.random() < 0.3 for name in rng.sample(TASKS, rng.randint(2, 4))}
        self.settings = {name: rng.random() < 0.5 for name in SETTINGS}
        self.currency = rng.choice(("Dollar", "Euro"))
        self.user = ""
        self.orders: list[str] = []
        self.notice = ""

    @property
    def texts(self) -> dict[str, tuple[str, ...]]:
        """What a visitor may sensibly write into each field, right and wrong, by its name."""
        return {
            "Search for": (*self.prices, "Sofa"),
            "Quantity": ("1", "2", "3", "9"),
            "New task": TASKS,
            # What stands twice is drawn twice as often: a visitor should at times get in.
            "User": ("ann", "ann", "ben"),
            "Password": (self.password, self.password, *WORDS[:1]),
            "Name": ("Ann", "Ben"),
            "Message": ("Hello", "Where is my order?"),
        }

    def get(self, path: str) -> str:
        """
        The page at a path, such as `/shop/Mug`; the message of the last form stands on it once.

        Raises:
            KeyError: if there is no such page.
        """
        parts = urlsplit(path)
        area, _, rest = parts.path.strip("/").partition("/")
        if area not in AREAS:
            raise KeyError(path)
        product = rest if area == "shop" else ""
        if product and product not in self.prices:
            raise KeyError(path)
        text = dict(parse_qsl(parts.query)).get("text", "")
        notice, self.notice = self.notice, ""
        return PAGE.render(
            site=self,
            area=area,
            product=product,
            title=product or area.capitalize(),
            notice=notice,
            price=self._price,
            total=sum(count * self.prices[name] for name, count in self.cart.items()),
            shown_tasks={name: done for name, done in self.tasks.items() if name not in self._hidden_tasks()},
            text=text,
            found=[name for name in self.prices if text and text.lower() in name.lower()],
        )

    def post(self, path: str, form: Form) -> str:
        """
        Change the session by a form that was sent.

        Raises:
            KeyError: if there is no such form, or it lacks a field.
            ValueError: if a quantity is no number.
        """
        area, _, what = path.strip("/").partition("/")
        if path == "/account":
            self._sign_in(form)
        elif path == "/account/leave":
            self.user, self.notice = "", "Signed out."
        elif path == "/settings":
            self.settings = {name: name in form for name in SETTINGS}  # browsers do not send boxes without a tick
            self.currency, self.notice = form["currency"], "Settings saved."
        elif path == "/help":
            self.notice = f"Thank you, {form['name']}. We read it under {form['topic']}."
        elif area == "cart" and what in ("add", "remove", "order"):
            return self._change_cart(what, form)
        elif area == "tasks" and what in ("save", "add", "delete", "clear"):
            self._change_tasks(what, form)
        else:
            raise KeyError(path)
        return f"/{area}"

    def _sign_in(self, form: Form) -> None:
        is_right = (form["user"], form["password"]) == ("ann", self.password)
        self.user, self.notice = ("ann", "Welcome, ann.") if is_right else ("", "Wrong user or password.")

    def _change_cart(self, what: str, form: Form) -> str:
        name = form.get("name", "")
        if what == "order":
            if self.user:
                self.orders.append(", ".join(f"{count} {item}" for item, count in self.cart.items()))
                self.cart, self.notice = {}, f"Order {len(self.orders)} is on its way."
            else:
                self.notice = "Sign in to order."
        elif what == "remove":
            self.cart.pop(name, None)
            self.notice = f"{name} is out of the cart."
        else:
            count = self.cart.get(name, 0) + int(form["quantity"])
            if count > self.stock[name]:
                self.notice = f"Only {self.stock[name]} of {name} in stock."
            else:
                self.cart[name], self.notice = count, f"{name} is in the cart."
        back = form.get("back", "")
        # A form may name any address: only these are gone back to.
        return back if back in ("/shop", f"/shop/{name}") else "/cart"

    def _change_tasks(self, what: str, form: Form) -> None:
        if what == "save":
            # A form lacks hidden tasks as it lacks those without a tick.
            hidden = self._hidden_tasks()
            self.tasks = {name: name in hidden or f"task {name}" in form for name in self.tasks}
            self.notice = "Tasks saved."
        elif what == "add":
            self.tasks.setdefault(form["task"], False)
        elif what == "delete":
            self.tasks.pop(form["task"], None)
        else:
            self.tasks = {name: done for name, done in self.tasks.items() if not done}

    def _hidden_tasks(self) -> set[str]:
        return {name for name, done in self.tasks.items() if done and self.settings["hide"]}

    def _price(self, amount: int) -> str:
        return f"${amount}" if self.currency == "Dollar" else f"{amount} EUR"


@contextmanager
def serve_site(seed: int) -> Iterator[str]:
    """
    Serve a site on a free port of loopback, in a thread.

    Args:
        seed (`int`):
            See [`Site`]; the cookie `session`, a number, decides the rest. A hyphen and a second number may follow:
            two visits that differ in it begin alike and are kept apart.

    Yields:
        `str`: its address, such as `http://127.0.0.1:40123`.

    Example:

    ```python
    >>> from urllib.request import urlopen
    >>> with serve_site(0) as address:
    ...     "<title>Shop</title>" in urlopen(f"{address}/shop").read().decode()
    True

    ```
    """
    sites: dict[str, Site] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer: of two, the second waits until the first is confirmed

        def do_GET(self) -> None:
            try:
                self._answer(200, self._site().get(self.path))
            except KeyError:
                self._answer(404, "There is no such page.")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            try:
                # A field that was left empty is part of the form, too.
                place = self._site().post(self.path, dict(parse_qsl(body, keep_blank_values=True)))
                self._answer(303, "", Location=place)
            except (KeyError, ValueError):
                self._answer(404, "There is no such form.")

        def log_message(self, format: str, *args: Any) -> None:
            """Requests are not logged."""

        def _site(self) -> Site:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get("session")
            visit = cookie.value if cookie else "0"
            return sites.setdefault(visit, Site(seed=seed, session=int(visit.partition("-")[0])))

        def _answer(self, status: int, text: str, **headers: str) -> None:
            content = text.encode()
            given = {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(content))} | headers
            self.send_response(status)
            # A page changes with its session: one from the browser's cache would show an earlier state.
            for name, value in {**given, "Cache-Control": "no-store"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        # A browser keeps connections open, and closing the server would wait for their threads.
        server.daemon_threads = True
        server.block_on_close = False
        # `shutdown` waits for the next poll: by default half a second.
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
