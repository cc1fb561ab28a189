import pytest

from rlvr_world_hf.lazy_names import lazy_names


SOURCE = """
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .decoder import JSONDecodeError as JSONDecodeError
    from .decoder import JSONDecoder as JSONDecoder

if unrelated:
    from .scanner import make_scanner
"""


def test_names_under_type_checking_are_loaded_on_use(tmp_path) -> None:
    (tmp_path / "__init__.py").write_text(SOURCE)
    get, names = lazy_names("json", str(tmp_path / "__init__.py"))
    assert names() == ["JSONDecodeError", "JSONDecoder"]
    assert get("JSONDecoder").__name__ == "JSONDecoder"
    with pytest.raises(AttributeError, match=r"no public name 'make_scanner'; it offers JSONDecodeError, JSONDecoder"):
        get("make_scanner")
