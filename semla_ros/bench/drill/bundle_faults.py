"""Bundles that somebody made to do harm."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from semla_ros.bench.drill.fault import Fault
from semla_ros.bench.drill.heard import ERROR
from semla_ros.bench.drill.session import Session, Setup
from semla_ros.bench.drill.verdicts import answers, sees, silent, tells

BUNDLE = Setup("bundle")


def _manifest(change: str, bundle: Path) -> None:
    path = bundle / "bundle.yaml"
    path.write_text(path.read_text(encoding="utf-8") + change, encoding="utf-8")


def _outside(bundle: Path) -> None:
    path = bundle / "bundle.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("weights.safetensors", "../../etc/passwd"), encoding="utf-8")


def _bomb(bundle: Path) -> None:
    """Let the bundle's name be 43 million words in a few lines."""
    lines = [f"a0: &a0 [{', '.join('x' * 9)}]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 8)]
    path = bundle / "bundle.yaml"
    text = path.read_text(encoding="utf-8").replace("\nname: demo\n", "\nname: *a7\n")
    path.write_text("\n".join([*lines, text]), encoding="utf-8")


def _code(bundle: Path) -> None:
    _manifest(f"\nx: !!python/object/apply:os.mkdir ['{bundle / 'executed'}']\n", bundle)


def _header(bundle: Path) -> None:
    with (bundle / "weights.safetensors").open("r+b") as stream:
        stream.write(struct.pack("<Q", 2**62))


def _flip(bundle: Path) -> None:
    path = bundle / "segmentation.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


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


BUNDLES = (
    Fault(
        "hostile bundle",
        f"the node is configured on a bundle with {'; '.join(HOSTILE)}",
        hostile,
        (
            silent(),
            tells("node", least=ERROR),
            *(answers(name, success=False) for name in HOSTILE),
            sees("code of the bundle", "not run", "nothing of a bundle is executed"),
        ),
        setup=BUNDLE,
        seconds=2.0,
        human="get the bundle from where it was made; the message says what is wrong",
    ),
)
