"""The files in config/: equal to the defaults in the code, and readable by those who use them."""

from pathlib import Path
from xml.etree import ElementTree

import yaml

from semla_ros.core.config import PARAMETERS
from semla_ros.core.parameter_file import parameter_file

CONFIG = Path(__file__).resolve().parents[2] / "config"


def test_drive_yaml_holds_every_default():
    text = (CONFIG / "drive.yaml").read_text(encoding="utf-8")
    assert text == parameter_file(), (
        "run: python -m semla_ros.core.parameter_file > config/drive.yaml"
    )
    values = yaml.safe_load(text)["/**"]["ros__parameters"]
    assert values == {name: spec.default for name, spec in PARAMETERS.items()}
    for name, spec in PARAMETERS.items():
        assert type(values[name]) is type(spec.default), name


def test_the_dds_profile_uses_a_segment_larger_than_an_image():
    space = {"dds": "http://www.eprosima.com"}
    root = ElementTree.parse(CONFIG / "fastdds_large_images.xml").getroot()
    kinds = [e.text for e in root.iterfind(".//dds:transport_descriptor/dds:type", space)]
    assert kinds == ["SHM", "UDPv4"]
    (segment,) = root.iterfind(".//dds:segment_size", space)
    assert int(segment.text) == 32 * 2**20
    defined = {
        e.text for e in root.iterfind(".//dds:transport_descriptor/dds:transport_id", space)
    }
    used = {e.text for e in root.iterfind(".//dds:userTransports/dds:transport_id", space)}
    assert used == defined
