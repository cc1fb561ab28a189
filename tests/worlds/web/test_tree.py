import pytest

from rlvr_world_hf.worlds.web.tree import PageElement, parse_page, read_accessibility_tree, write_page


PAGE = """[1] RootWebArea 'Shop'
\t[2] navigation 'Main'
\t\t[3] link "Ann's cart"
\t[4] textbox 'Email \\ue60b' value: 'a: [b]' required: True"""


def node(number, role, name="", children=(), ignored=False, value=None, **properties):
    made = {"nodeId": str(number), "ignored": ignored, "role": {"value": role}, "name": {"value": name}}
    made |= {"childIds": [str(child) for child in children]} | ({} if value is None else {"value": {"value": value}})
    return made | {"properties": [{"name": key, "value": {"value": item}} for key, item in properties.items()]}


def lines(*children):
    root = node(0, "RootWebArea", "Shop", [child["nodeId"] for child in children if child.get("top", True)])
    return write_page(read_accessibility_tree([root, *children])).split("\n")[1:]


def test_a_page_is_read_as_it_was_written():
    elements = parse_page(PAGE)
    assert write_page(elements) == PAGE
    assert [element.depth for element in elements] == [0, 1, 2, 1]
    assert elements[3] == PageElement(
        element_id=4, depth=1, role="textbox", name="Email \ue60b", properties="value: 'a: [b]' required: True"
    )


@pytest.mark.parametrize("line", ["link 'Cart'", "[x] link 'Cart'", "[3] link Cart", "    [3] link 'Cart'"])
def test_what_is_no_element_is_named(line):
    with pytest.raises(ValueError, match="indented by tabs, got"):
        parse_page(f"{PAGE}\n{line}")


@pytest.mark.parametrize("name", [r"'a\x'", r"'\u12'", r"'\N{foo}'", '"\\U"', "'a\rb'", "'a\0b'"])
def test_a_name_that_is_no_literal_is_no_element(name):
    with pytest.raises(ValueError, match="indented by tabs, got"):
        parse_page(f"{PAGE}\n[9] link {name}")


@pytest.mark.parametrize(
    ("children", "written"),
    [
        ([node(1, "button", "Save", [2]), node(2, "StaticText", "Save") | {"top": False}], ["\t[2] button 'Save'"]),
        ([node(1, "StaticText", " Free \n tea ")], ["\t[2] StaticText 'Free tea'"]),
        ([node(1, "StaticText", " "), node(2, "list"), node(3, "none", "x"), node(4, "link", "x", ignored=True)], []),
        (
            [node(1, "generic", "", [2]), node(2, "textbox", "", [], False, "", focusable=True) | {"top": False}],
            ["\t[2] textbox '' value: ''"],
        ),
        (
            [node(1, "region", "Tea list", [2]), node(2, "StaticText", "Tea") | {"top": False}],
            ["\t[2] region 'Tea list'", "\t\t[3] StaticText 'Tea'"],
        ),
        (
            [
                node(1, "LabelText", "", [2, 3]),
                node(2, "StaticText", "News") | {"top": False},
                node(3, "checkbox", "News", checked="true", required=False) | {"top": False},
            ],
            ["\t[2] checkbox 'News' checked: True"],
        ),
        (
            [node(1, "checkbox", "a", checked="false"), node(2, "checkbox", "b", checked="mixed", disabled=True)],
            ["\t[2] checkbox 'a' checked: False", "\t[3] checkbox 'b' checked: Mixed disabled: True"],
        ),
        (
            [node(1, "combobox", "Sort", [2], value="Name"), node(2, "MenuListPopup", "", [3]) | {"top": False},
             node(3, "option", "Name", selected=True) | {"top": False}],
            ["\t[2] combobox 'Sort' value: 'Name'", "\t\t[3] option 'Name' selected: True"],
        ),
    ],
)  # fmt: skip
def test_what_says_something_is_written(children, written):
    assert lines(*children) == written
