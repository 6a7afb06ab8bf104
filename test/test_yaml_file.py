"""Whatever PyYAML raises is one kind of error, of one line."""

import pytest
import yaml

from semla_ros.yaml_file import parse_yaml, read_yaml

BROKEN = {
    "open": "{",
    "control character": "a: \x07",
    "no such date": "a: 2001-99-99",
    "no bool": "!!bool odd",
    "no timestamp": "!!timestamp odd",
    "no int": '!!int ""',
    "unhashable key": "{[a]: 1}",
    "unhashable set": "!!set {[a]: }",
    "code": "!!python/object/apply:os.getcwd []",
    "two documents": "a\n---\nb",
    "unknown anchor": "*a",
    "deep": "[" * 5000,
    "many digits": "a: " + "9" * 5000,
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_yaml_is_a_value_error_of_one_line(what):
    with pytest.raises(ValueError, match=r"[a-z]") as caught:
        parse_yaml(BROKEN[what])
    assert len(str(caught.value).splitlines()) == 1


def test_some_of_them_are_no_yaml_error():
    """Why this module exists: PyYAML lets other exceptions through."""
    for what in ("no such date", "no bool", "no timestamp", "no int"):
        with pytest.raises((ValueError, KeyError, AttributeError, IndexError)) as caught:
            yaml.safe_load(BROKEN[what])
        assert not isinstance(caught.value, yaml.YAMLError)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfroad: 1")
    assert read_yaml(path, max_bytes=100) == {"road": 1}
    with pytest.raises(ValueError, match="over 5 bytes"):
        read_yaml(path, max_bytes=5)


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(ValueError, match="UnicodeDecodeError"):
        parse_yaml(b"\xff\xfe\xff")
