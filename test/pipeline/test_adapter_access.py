"""adapter_access: what cannot be loaded is tried again, what was refused is not."""

import pytest

from semla_ros.core.errors import AdapterError
from semla_ros.core.types import LoraAdapter
from semla_ros.pipeline.adapter_access import AdapterAccess
from semla_ros.pipeline.retry import LONGEST_WAIT_NS


class Disk:
    """A library whose adapters are there, torn or gone as the test says."""

    def __init__(self):
        self.torn, self.away, self.read = set(), set(), []

    def get(self, name):
        self.read.append(name)
        if name in self.away or name in self.torn:
            raise AdapterError(f"adapter {name!r} is torn")
        return LoraAdapter(name, {})

    def gone(self):
        return dict.fromkeys(self.away, "gone")


def test_a_refused_adapter_stays_refused_while_its_disk_comes_and_goes():
    disk = Disk()
    access = AdapterAccess(disk)
    access.refuse(["fog"], "every pixel is road")
    disk.away = {"fog", "rain"}
    with pytest.raises(AdapterError, match="torn"):
        access.get("rain")
    assert access.retried == ("rain",)
    disk.away = set()
    assert not access.due(0)
    assert access.due(LONGEST_WAIT_NS)
    access.retry()
    assert dict(access.failing) == {"fog": "every pixel is road"}
    assert not access.due(3 * LONGEST_WAIT_NS), "nothing is left to try"
    with pytest.raises(AdapterError, match="every pixel is road"):
        access.get("fog")
    assert "fog" not in disk.read


def test_time_that_steps_back_starts_the_wait_anew():
    disk = Disk()
    disk.torn = {"fog"}
    access = AdapterAccess(disk)
    with pytest.raises(AdapterError):
        access.get("fog")
    assert not access.due(10**15)
    assert not access.due(5)
    assert not access.due(5 + 999_999_999)
    assert access.due(5 + 1_000_000_000)


def test_one_try_at_a_time():
    disk = Disk()
    disk.torn = {"fog"}
    access = AdapterAccess(disk)
    with pytest.raises(AdapterError):
        access.get("fog")
    access.due(0)
    assert access.due(LONGEST_WAIT_NS)
    assert not access.due(10 * LONGEST_WAIT_NS)
    access.retry()
    assert access.due(20 * LONGEST_WAIT_NS)


def test_an_adapter_that_loads_on_demand_counts_as_found():
    disk = Disk()
    disk.torn = {"fog"}
    access = AdapterAccess(disk)
    with pytest.raises(AdapterError):
        access.get("fog")
    disk.torn = set()
    assert access.get("fog").name == "fog"
    assert not access.failing
