"""
A small web site for world models: shop, cart, tasks, search, settings, account and help, linked and full of forms.

It runs on loopback without a script in its pages. A seed decides what it offers, and a visitor's session, which the
server keeps under the cookie `session`, with what it begins. Nothing depends on the time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit


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
        title, body = getattr(self, f"_{area}")(rest, dict(parse_qsl(parts.query)))
        notice, self.notice = self.notice, ""
        links = {name: name.capitalize() for name in AREAS} | {"cart": f"Cart ({sum(self.cart.values())})"}
        links["account"] = f"Account of {self.user}" if self.user else "Sign in"
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
            + '<link rel="icon" href="data:,"><nav>'
            + " ".join(f'<a href="/{name}">{text}</a>' for name, text in links.items())
            + f"</nav><main><h1>{title}</h1>{f'<p>{escape(notice)}</p>' if notice else ''}{body}</main></html>"
        )

    def post(self, path: str, form: Form) -> str:
        """
        Let a form change the session.

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
            self.settings = {name: name in form for name in SETTINGS}
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
        return back if back in ("/shop", f"/shop/{name}") else "/cart"

    def _change_tasks(self, what: str, form: Form) -> None:
        if what == "save":
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

    def _shop(self, product: str, query: Form) -> tuple[str, str]:
        if product:
            back = f"/shop/{product}"
            quantity = _field("Quantity", "quantity", kind="number", value="1", extra='min="1"')
            form = _form("/cart/add", "Add to cart", quantity, name=product, back=back)
            stock = f"<p>{self.stock[product]} in stock</p>" if self.settings["stock"] else ""
            price = f"<p>Price: {self._price(self.prices[product])}</p>"
            return product, f'{price}{stock}{form}<a href="/shop">Back</a>'
        return "Shop", "".join(
            f'<p><a href="/shop/{name}">{name}</a></p><p>{name} costs {self._price(price)}</p>'
            + _form("/cart/add", f"Add {name}", name=name, quantity="1", back="/shop")
            for name, price in self.prices.items()
        )

    def _cart(self, rest: str, query: Form) -> tuple[str, str]:
        if not self.cart:
            return "Cart", "<p>The cart is empty.</p>"
        items = "".join(
            f"<p>{count} {name}: {self._price(count * self.prices[name])}</p>"
            + _form("/cart/add", f"One more {name}", name=name, quantity="1")
            + _form("/cart/remove", f"Remove {name}", name=name)
            for name, count in self.cart.items()
        )
        total = self._price(sum(count * self.prices[name] for name, count in self.cart.items()))
        return "Cart", f"{items}<p>Total: {total}</p>" + _form("/cart/order", "Order")

    def _tasks(self, rest: str, query: Form) -> tuple[str, str]:
        shown = {name: done for name, done in self.tasks.items() if name not in self._hidden_tasks()}
        boxes = "".join(f"<p>{_box(name, f'task {name}', is_checked=done)}</p>" for name, done in shown.items())
        forms = _form("/tasks/save", "Save tasks", boxes)
        forms += "".join(_form("/tasks/delete", f"Delete {name}", task=name) for name in shown)
        forms += _form("/tasks/clear", "Delete done") + _form("/tasks/add", "Add task", _field("New task", "task"))
        return "Tasks", f"<p>{sum(self.tasks.values())} of {len(self.tasks)} done</p>{forms}"

    def _search(self, rest: str, query: Form) -> tuple[str, str]:
        text = query.get("text", "")
        form = _form("/search", "Search", _field("Search for", "text", kind="search", value=text), method="get")
        found = [name for name in self.prices if text and text.lower() in name.lower()]
        links = "".join(f'<p><a href="/shop/{name}">{name} in the shop</a></p>' for name in found)
        return "Search", form + (links or (f"<p>Nothing found for {escape(text)}.</p>" if text else ""))

    def _settings(self, rest: str, query: Form) -> tuple[str, str]:
        boxes = "".join(
            f"<p>{_box(text, name, is_checked=self.settings[name])}</p>" for name, text in SETTINGS.items()
        )
        choice = _choice("Currency", "currency", ("Dollar", "Euro"), self.currency)
        reset = '<button type="reset">Undo changes</button>'
        return "Settings", _form("/settings", "Save settings", boxes + choice + reset)

    def _account(self, rest: str, query: Form) -> tuple[str, str]:
        if self.user:
            orders = "".join(f"<p>Order {number}: {text}</p>" for number, text in enumerate(self.orders, start=1))
            return "Account", f"<p>Signed in as {self.user}.</p>{orders}" + _form("/account/leave", "Sign out")
        fields = _field("User", "user") + _field("Password", "password", kind="password")
        return "Account", f"<p>Guests are ann, {self.password}.</p>" + _form("/account", "Enter", fields)

    def _help(self, rest: str, query: Form) -> tuple[str, str]:
        answers = "".join(
            f"<details><summary>{text}</summary>{answer}</details>" for text, answer in QUESTIONS.items()
        )
        fields = _field("Name", "name") + _field("Message", "message") + _choice("Topic", "topic", TOPICS, TOPICS[0])
        return "Help", answers + _form("/help", "Send", fields)


def _form(action: str, button: str, fields: str = "", *, method: str = "post", **hidden: str) -> str:
    inputs = "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in hidden.items())
    return f'<form action="{action}" method="{method}">{inputs}{fields}<button>{escape(button)}</button></form>'


def _field(label: str, name: str, *, kind: str = "text", value: str = "", extra: str = "") -> str:
    given = f'type="{kind}" name="{name}" value="{escape(value)}" required autocomplete="off" {extra}'
    return f"<label>{label} <input {given}></label>"


def _box(label: str, name: str, *, is_checked: bool) -> str:
    given = f'name="{escape(name)}" {"checked" if is_checked else ""}'
    return f'<label><input type="checkbox" {given}>{escape(label)}</label>'


def _choice(label: str, name: str, options: tuple[str, ...], chosen: str) -> str:
    items = "".join(f"<option {'selected' if option == chosen else ''}>{option}</option>" for option in options)
    return f'<label>{label} <select name="{name}" autocomplete="off">{items}</select></label>'


@contextmanager
def serve_site(seed: int) -> Iterator[str]:
    """
    Serve a site on a free port of loopback, in a thread.

    Args:
        seed (`int`):
            See [`Site`]; the cookie `session`, a number, decides the rest. What may follow the number after a hyphen
            tells visits apart that begin alike.

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
        wbufsize = -1  # an answer is one packet; two would wait for each other

        def do_GET(self) -> None:
            try:
                self._answer(200, self._site().get(self.path))
            except KeyError:
                self._answer(404, "There is no such page.")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            try:
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
            for name, value in {**given, "Cache-Control": "no-store"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
