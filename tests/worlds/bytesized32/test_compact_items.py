import pytest

from rlvr_world_hf.worlds.bytesized32.compact_items import read_item, write_item


UUIDS = {"cup (ID: 3)": 3}
NAMES = {3: "cup (ID: 3)"}


@pytest.mark.parametrize(
    ("value", "item"),
    [
        (True, "+key"),
        (False, "-key"),
        (20.0, "key=20.0"),
        (None, "key=null"),
        ("in", "key=in"),
        (" with a fish", "key= with a fish"),
        ("", "key="),
        ("1.4", 'key="1.4"'),
        ("true", 'key="true"'),
        ("a;b|c", 'key="a\\u003bb\\u007cc"'),
        ("a=b", "key=a=b"),
        ("two\nlines", 'key="two\\nlines"'),
        ("cup (ID: 3)", "key=@3"),
        ("@3", "key=@@3"),
        ("@@", "key=@@@"),
        (["cup (ID: 3)", None, "x;y"], 'key=["@3",null,"x\\u003by"]'),
        ({"a": {"b": ["cup (ID: 3)"]}}, 'key={"a":{"b":["@3"]}}'),
    ],
)
def test_a_value_is_written_and_read_back(value, item):
    assert write_item("key", value, UUIDS) == item
    assert read_item(item, NAMES) == ("key", value)


@pytest.mark.parametrize("item", ["", "key", "+", "+a b", "2=3", "=3", "~key", ">5"])
def test_no_item(item):
    assert read_item(item, NAMES) is None


@pytest.mark.parametrize(
    "item", ["key=[1,", "key=@99", "key=@x", "key=" + "[" * 5000, "key=" + "9" * 9000], ids=lambda item: item[:10]
)
def test_a_value_that_is_no_json_is_a_text(item):
    assert read_item(item, NAMES) == ("key", item[4:])


def test_a_property_is_named_like_a_variable():
    with pytest.raises(ValueError, match="like a variable"):
        write_item("is open", True, {})
