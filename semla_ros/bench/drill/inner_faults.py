"""Faults of the library, the bundle, the node's own parts, and orders that come at a bad time."""

from __future__ import annotations

import json
import shutil
import signal
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from semla_ros.bench.drill.faults import SMALL, TURNS, Fault, Script
from semla_ros.bench.drill.heard import ERROR
from semla_ros.bench.drill.session import Session, Setup
from semla_ros.bench.drill.verdicts import (
    Expectation,
    answers,
    either,
    goes_on,
    goes_stale,
    sees,
    silent,
    tells,
)

SWITCHES = Setup("switches", switches=True)
BUNDLE = Setup("bundle")
VICTIM, OTHER = "fog-night", "rain-day"
WEIGHTS = "adapter_model.safetensors"
SEALS = "SHA256SUMS"
STEPS = ("read", "text", "merge", "prepare", "commit")

_DAMAGED_BYTES = 14_000
_COPY = "copy the adapter's folder again, then call ~/reload_library"


def library(session: Session) -> Path:
    """Return the folder of the node's adapters."""
    return session.bundle / "library"


def damaged(damage: Callable[[Path], None]) -> Script:
    """Return the script that damages an adapter, reloads and pins it, and mends it again."""

    def play(session: Session) -> Iterator[None]:
        folder = library(session) / VICTIM
        shutil.copytree(folder, session.bundle / "kept")
        damage(folder)
        session.order("reload", "reload_library")
        session.order("pin of the damaged adapter", "select_adapters", mode=1, names=[VICTIM])
        session.order("pin of another", "select_adapters", mode=1, names=[OTHER])
        session.order("follow", "select_adapters", mode=0)
        session.camera(pictures=[VICTIM])
        yield
        shutil.rmtree(folder)
        kept = session.bundle / "kept"
        kept.rename(folder)
        session.order("reload of the mended", "reload_library")
        session.order("pin of the mended", "select_adapters", mode=1, names=[VICTIM])
        session.order("follow again", "select_adapters", mode=0)

    return play


def cut(folder: Path) -> None:
    """Lose half of an adapter's weights."""
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_base(folder: Path) -> None:
    """Let an adapter say that it belongs to another base model."""
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = "catseg:0000000000000000"
    path.write_text(json.dumps(config), encoding="utf-8")


def no_centroid(folder: Path) -> None:
    """Lose an adapter's statistics."""
    (folder / f"{folder.name}_statistics.npz").unlink()


def constant(folder: Path) -> None:
    """Overwrite 14 kB in the middle of an adapter's weights with a finite constant."""
    path = folder / WEIGHTS
    data = bytearray(path.read_bytes())
    (header,) = struct.unpack_from("<Q", data)
    middle = 8 + header + (len(data) - 8 - header) // 8 * 4
    data[middle : middle + _DAMAGED_BYTES] = struct.pack("<f", 30.0) * (_DAMAGED_BYTES // 4)
    path.write_bytes(data)


def constant_unsealed(folder: Path) -> None:
    """The same in an adapter that nobody has sealed."""
    (folder / SEALS).unlink(missing_ok=True)
    constant(folder)


def _damage(name: str, does: str, damage: Callable[[Path], None]) -> Fault:
    expects = (
        goes_on(),
        tells("adapters", words=(VICTIM,)),
        answers("pin of the damaged adapter", success=False, words=(VICTIM,)),
        answers("pin of another", success=True),
        answers("pin of the mended", success=True),
    )
    return Fault(name, does, damaged(damage), expects, human=_COPY)


def unreadable(session: Session) -> Iterator[None]:
    """Take the library away while the scene changes, put it back, and look for swaps."""
    session.camera(**TURNS)
    away = library(session).rename(session.bundle / "away")
    yield
    away.rename(library(session))
    session.ended_ns = back = time.monotonic_ns()
    swapped = session.wait(lambda h: any(s.committed and s.at > back for s in h.swaps), 20.0)
    session.facts["swaps again"] = "yes" if swapped else "no"


DAMAGED = (
    _damage("corrupt adapter", "half of an adapter's weights are missing", cut),
    _damage("wrong base", "an adapter of another base model", other_base),
    _damage("missing centroid", "an adapter's statistics are missing", no_centroid),
    _damage("constant in adapter", "14 kB of an adapter are a finite constant", constant),
    _damage(
        "constant, unsealed",
        "the same in an adapter that has no checksums",
        constant_unsealed,
    ),
    Fault(
        "adapters unreadable",
        "the library's medium goes away while the scene changes, and comes back",
        unreadable,
        (goes_on(), tells("adapters"), sees("swaps again", "yes", "swaps again once it is back")),
        setup=SMALL,
        seconds=10.0,
        human="look after the medium; nothing else once it is back",
    ),
)


def broken(point: str, how: str, **script: object) -> Script:
    """Return the script that lets one of the node's parts `raise` or `hang`."""

    def play(session: Session) -> Iterator[None]:
        session.switch(point, how)
        session.camera(**script)
        yield
        session.switch(point, "")

    return play


def steps_fail(session: Session) -> Iterator[None]:
    """Let each step of a swap fail in turn, then none."""
    for step in STEPS:
        session.switch(step, "raise")
        session.order(f"pin, {step} fails", "select_adapters", mode=1, names=[OTHER])
        session.switch(step, "")
        session.order("reload", "reload_library")
    session.order("pin, nothing fails", "select_adapters", mode=1, names=[OTHER])
    yield
    session.order("follow", "select_adapters", mode=0)


def killed(session: Session) -> Iterator[None]:
    """Kill the node in the middle of a swap and start it again."""
    session.switch("merge", "hang")
    session.order("pin", "select_adapters", timeout_s=1.0, mode=1, names=[OTHER])
    session.signal_node(signal.SIGKILL)
    session.switch("merge", "")
    yield
    session.start_node()


def told_to_end(point: str, number: signal.Signals) -> Script:
    """Return the script that signals a node one of whose parts hangs, and starts it again."""

    def play(session: Session) -> Iterator[None]:
        session.switch(point, "hang")
        time.sleep(1.5)
        ends = session.signal_node(number)
        session.facts["ends"] = "yes" if ends else "no"
        session.switch(point, "")
        yield
        session.start_node()

    return play


def refused_order(session: Session) -> Iterator[None]:
    """Give orders that the node's deactivation refuses, and look whether they are done later."""
    names = list(session.heard().labels[-1].names)
    session.switch("merge", "hang")
    request = {"class_names": ["road", "sky"]}
    session.order("asked in time", "set_vocabulary", timeout_s=1.0, **request)
    session.order("deactivate", "change_state", label="deactivate")
    session.order("asked too late", "set_vocabulary", **request)
    yield
    session.switch("merge", "")
    session.order("activate", "change_state", label="activate")
    heard = session.heard()
    first = next((a for a in heard.answers if a.service == "set_vocabulary"), None)
    if first is not None:
        session.answers["asked in time"] = first
    time.sleep(4.0)
    same = session.heard().labels[-1].names == names
    session.facts["class list"] = "as before" if same else "the refused one"


def misspelt(session: Session) -> Iterator[None]:
    """Exclude an adapter whose name is misspelt."""
    session.order("misspelt exclude", "set_parameters", exclude="fog-nihgt")
    yield
    session.order("exclude", "set_parameters", exclude="")


_NAVIGATOR = tells(words=("navigator", "embed"))
_STOPS = (goes_stale(), silent(), tells("inference", least=ERROR))
_REPORT = "report it, with the node's log: this is a defect of the node or its engine"
_FAILED = tuple(answers(f"pin, {s} fails", success=False) for s in STEPS)

PARTS = (
    Fault(
        "navigator raises",
        "the navigator raises on every image, then of pure noise",
        broken("navigator", "raise", pictures=["clear-day", "noise"], turn_s=4.0),
        (goes_on(), goes_stale(6.0), _NAVIGATOR),
        setup=SWITCHES,
        seconds=9.0,
        human=_REPORT,
    ),
    Fault(
        "navigator hangs",
        "the navigator hangs, then the camera shows pure noise",
        broken("navigator", "hang", pictures=["clear-day", "noise"], turn_s=4.0),
        (goes_on(), goes_stale(6.0), _NAVIGATOR),
        setup=SWITCHES,
        seconds=12.0,
        human=_REPORT,
    ),
    Fault(
        "inference raises",
        "the network raises on every image",
        broken("infer", "raise"),
        _STOPS,
        setup=SWITCHES,
        human=_REPORT,
    ),
    Fault(
        "inference hangs",
        "the network hangs in one image",
        broken("infer", "hang"),
        (goes_stale(), silent(), tells("inference", least=ERROR, words=("hang", "hung"))),
        setup=SWITCHES,
        seconds=10.0,
        human=_REPORT,
    ),
    Fault(
        "worker raises",
        "the frame loop raises what nobody expects",
        broken("step", "raise"),
        _STOPS,
        setup=SWITCHES,
        human=_REPORT,
    ),
    Fault(
        "swap fails at each step",
        f"an adapter is pinned while {', '.join(STEPS)} fail one by one",
        steps_fail,
        (goes_on(), tells("adapters"), *_FAILED, answers("pin, nothing fails", success=True)),
        setup=SWITCHES,
        human=_REPORT,
    ),
    Fault(
        "refused orders",
        "a class list is ordered before and after a deactivation, then the node is activated",
        refused_order,
        (
            answers("asked in time", success=False),
            answers("asked too late", success=False),
            answers("activate", success=True),
            sees("class list", "as before", "refused means gone"),
        ),
        setup=SWITCHES,
        human="order again once the node is active",
    ),
    Fault(
        "misspelt exclude",
        "the parameter `exclude` names no adapter",
        misspelt,
        (
            either(
                answers("misspelt exclude", success=False),
                tells("adapters", words=("fog-nihgt",)),
                text="refused, or said in diagnostics",
            ),
            goes_on(),
        ),
        setup=SWITCHES,
        human="spell the name as the library does",
    ),
    Fault(
        "hung navigator, SIGTERM",
        "the navigator hangs and the node is told to end by SIGTERM",
        told_to_end("navigator", signal.SIGTERM),
        (sees("ends", "yes", "ends within 25 s"),),
        setup=SWITCHES,
    ),
    Fault(
        "hung inference, SIGINT",
        "the network hangs and the node is told to end by SIGINT",
        told_to_end("infer", signal.SIGINT),
        (sees("ends", "yes", "ends within 25 s"),),
        setup=SWITCHES,
    ),
    Fault(
        "kill -9 during a swap",
        "the node is killed in the middle of a swap and started again",
        killed,
        (silent(),),
        setup=SWITCHES,
        human="nothing, where a supervisor (launch, systemd) starts it again",
    ),
)


def _manifest(change: str, bundle: Path) -> None:
    path = bundle / "bundle.yaml"
    path.write_text(path.read_text(encoding="utf-8") + change, encoding="utf-8")


def _outside(bundle: Path) -> None:
    path = bundle / "bundle.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("weights.safetensors", "../../etc/passwd"), encoding="utf-8")


def _bomb(bundle: Path) -> None:
    lines = [f"a0: &a0 [{', '.join(['x'] * 9)}]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    _manifest("\n" + "\n".join(lines) + "\n", bundle)


def _code(bundle: Path) -> None:
    _manifest(f"\nx: !!python/object/apply:os.mkdir ['{bundle / 'executed'}']\n", bundle)


def _header(bundle: Path) -> None:
    with (bundle / "weights.safetensors").open("r+b") as stream:
        stream.write(struct.pack("<Q", 2**62))


def _flip(bundle: Path) -> None:
    path = bundle / "segmentation.onnx"
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    data[len(data) // 2] ^= 1
    path.write_bytes(data.tobytes())


def _link(bundle: Path) -> None:
    (bundle / "tokenizer.json").unlink()
    (bundle / "tokenizer.json").symlink_to("/dev/zero")


HOSTILE: dict[str, Callable[[Path], None]] = {
    "a path that leads outside": _outside,
    "a YAML bomb": _bomb,
    "YAML that wants to run code": _code,
    "a header of 2**62 bytes": _header,
    "one flipped bit": _flip,
    "a link to /dev/zero": _link,
}


def hostile(session: Session) -> Iterator[None]:
    """Configure the running node on one hostile bundle after the other, then on the right one."""
    good = session.bundle.with_name("good")
    shutil.copytree(session.bundle, good)
    session.order("deactivate", "change_state", label="deactivate")
    session.order("clean up", "change_state", label="cleanup")
    for name, damage in HOSTILE.items():
        damage(session.bundle)
        session.order(name, "change_state", timeout_s=60.0, label="configure")
        if (session.bundle / "executed").exists():
            session.facts["code of the bundle"] = "run"
        shutil.rmtree(session.bundle)
        shutil.copytree(good, session.bundle)
    session.facts.setdefault("code of the bundle", "not run")
    yield
    shutil.rmtree(good)
    session.order("configure", "change_state", timeout_s=60.0, label="configure")
    session.order("activate", "change_state", label="activate")


def _refusals() -> tuple[Expectation, ...]:
    return tuple(answers(name, success=False) for name in HOSTILE)


BUNDLES = (
    Fault(
        "hostile bundle",
        f"the node is configured on a bundle with {'; '.join(HOSTILE)}",
        hostile,
        (
            silent(),
            tells("node", least=ERROR),
            *_refusals(),
            sees("code of the bundle", "not run", "nothing of a bundle is executed"),
        ),
        setup=BUNDLE,
        seconds=2.0,
        human="get the bundle from where it was made; the message says what is wrong",
    ),
)
