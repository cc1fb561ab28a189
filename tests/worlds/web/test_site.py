import re
from hashlib import sha256
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from rlvr_world_hf.worlds.web.site import AREAS, PRODUCTS, Site, serve_site


def texts(site: Site, path: str) -> list[str]:
    """What stands in the main part of a page."""
    main = site.get(path).partition("<main>")[2]
    return [text for text in re.split(r"<[^>]*>", main) if text.strip()]


@pytest.fixture
def site() -> Site:
    return Site(seed=0, session=0)


def test_a_seed_decides_the_site_and_a_session_what_it_begins_with() -> None:
    pages = {
        (seed, session): [Site(seed=seed, session=session).get(f"/{area}") for area in AREAS]
        for seed in (0, 1)
        for session in (0, 1)
    }
    assert pages[0, 0] == [Site(seed=0, session=0).get(f"/{area}") for area in AREAS]
    assert Site(seed=0, session=0).prices == Site(seed=0, session=1).prices != Site(seed=1, session=0).prices
    assert len({tuple(page) for page in pages.values()}) == 4


def test_pages_stay_as_they_were_recorded() -> None:
    """Browsers turn these bytes into the states of models that ship."""
    digest = sha256()
    for seed in range(3):
        for session in range(4):
            site = Site(seed=seed, session=session)
            name = min(site.prices)
            shelves = [f"/{area}" for area in AREAS] + [f"/shop/{name}", "/search?text=a", "/search?text=<b>"]
            digest.update("".join(map(site.get, shelves)).encode())
            site.post("/cart/add", {"name": name, "quantity": "1"})
            site.post("/account", {"user": "ann", "password": site.password})
            site.post("/tasks/add", {"task": "Eat & <b>drink</b>"})
            digest.update("".join(map(site.get, shelves)).encode())
            site.post("/cart/order", {})
            site.post("/settings", {"stock": "on", "hide": "on", "currency": "Euro"})
            digest.update("".join(map(site.get, shelves)).encode())
    assert digest.hexdigest() == "502284ddfa807854dd3adb398cbda65da21ebf0550e884c4f94e335709a79a6c"


def test_every_link_leads_to_a_page(site: Site) -> None:
    seen, todo = set(), ["/shop"]
    while todo:
        path = todo.pop()
        seen.add(path)
        todo += set(re.findall(r'href="(/[^"]*)"', site.get(path))) - seen
    assert len(seen) == len(AREAS) + 5


def test_a_cart_is_filled_emptied_and_ordered(site: Site) -> None:
    name = next(name for name in site.prices if name not in site.cart)
    site.cart = {}
    assert site.post("/cart/add", {"name": name, "quantity": "2", "back": "/shop"}) == "/shop"
    assert f"2 {name}: {site._price(2 * site.prices[name])}" in texts(site, "/cart")
    site.post("/cart/add", {"name": name, "quantity": "9"})
    assert site.cart == {name: 2} and f"Only {site.stock[name]} of {name} in stock." in texts(site, "/cart")
    site.post("/cart/order", {})
    assert "Sign in to order." in texts(site, "/cart") and "Sign in to order." not in texts(site, "/cart")
    site.post("/account", {"user": "ann", "password": site.password})
    site.post("/cart/order", {})
    assert site.cart == {} and f"Order 1: 2 {name}" in texts(site, "/account")
    site.post("/cart/add", {"name": name, "quantity": "1"})
    assert site.post("/cart/remove", {"name": name, "back": "http://elsewhere"}) == "/cart" and site.cart == {}


def test_tasks_are_added_done_hidden_and_deleted(site: Site) -> None:
    site.tasks, site.settings["hide"] = {"Buy milk": False}, False
    site.post("/tasks/add", {"task": "Eat <b>"})
    site.post("/tasks/save", {"task Buy milk": "on"})
    assert site.tasks == {"Buy milk": True, "Eat <b>": False}
    assert {"1 of 2 done", "Buy milk", "Eat &lt;b&gt;"} <= set(texts(site, "/tasks"))
    site.post("/settings", {"hide": "on", "currency": "Euro"})
    assert "Buy milk" not in texts(site, "/tasks")
    site.post("/tasks/save", {})
    assert site.tasks["Buy milk"], "what is hidden stays done"
    site.post("/tasks/clear", {})
    site.post("/tasks/delete", {"task": "Eat <b>"})
    assert site.tasks == {}


@pytest.mark.parametrize(("password", "notice"), [("", "Wrong user or password."), (None, "Welcome, ann.")])
def test_one_signs_in_with_the_password(site: Site, password: str | None, notice: str) -> None:
    site.post("/account", {"user": "ann", "password": site.password if password is None else password})
    assert notice in texts(site, "/account")


def test_search_finds_products(site: Site) -> None:
    (name, *_) = site.prices
    assert f"{name} in the shop" in texts(site, f"/search?text={name[:3].lower()}")
    missing = next(product for product in PRODUCTS if product not in site.prices)
    assert f"Nothing found for {missing}." in texts(site, f"/search?text={missing}")


def test_settings_change_the_shop(site: Site) -> None:
    (name, *_) = site.prices
    site.post("/settings", {"stock": "on", "currency": "Euro"})
    assert f"{site.stock[name]} in stock" in texts(site, f"/shop/{name}")
    assert f"Price: {site.prices[name]} EUR" in texts(site, f"/shop/{name}")
    site.post("/settings", {"currency": "Dollar"})
    assert f"Price: ${site.prices[name]}" in texts(site, f"/shop/{name}") and not site.settings["stock"]


@pytest.mark.parametrize("path", ["/", "/nowhere", "/shop/Nothing"])
def test_there_is_no_other_page_or_form(site: Site, path: str) -> None:
    with pytest.raises(KeyError):
        site.get(path)
    with pytest.raises(KeyError):
        site.post(path, {})


def test_the_server_keeps_a_site_for_each_session() -> None:
    with serve_site(0) as address:

        def ask(path: str, session: int | str, body: bytes | None = None) -> str:
            with urlopen(Request(address + path, body, {"Cookie": f"session={session}"})) as answer:
                return answer.read().decode()

        assert "Tea &amp; rest" in ask("/tasks/add", 1, b"task=Tea+%26+rest")  # the answer of where it redirects to
        assert "Tea &amp; rest" in ask("/tasks", 1) and "Tea &amp; rest" not in ask("/tasks", 2)
        assert "Tea &amp; rest" not in ask("/tasks", "1-0") and ask("/cart", "1-0") == ask("/cart", 1)
        assert ask("/settings", 2) == Site(seed=0, session=2).get("/settings")
        for path, body in (("/nowhere", None), ("/tasks/nothing", b""), ("/cart/add", b"name=Mug&quantity=x")):
            with pytest.raises(HTTPError, match="404") as raised:
                ask(path, 1, body)
            raised.value.close()
