"""A program of the user's that makes faces and number plates unrecognisable before writing.

It is named in a parameter, never in a bundle, and is started without a shell.
"""

from __future__ import annotations

import shlex
import subprocess

from semla_ros.core.errors import CaptureError, FrameError
from semla_ros.core.files.compressed_image import decode_file
from semla_ros.core.files.png import png_content
from semla_ros.core.types import UInt8Array

TIMEOUT_S = 10.0


def filtered(rgb: UInt8Array, command: str) -> UInt8Array:
    """Return what the program leaves of an image; never the image itself where it fails.

    Args:
        rgb: (H, W, 3) uint8.
        command: Program and arguments. It reads a PNG from stdin, writes one of the same size to
            stdout and returns 0, within `TIMEOUT_S`.

    Raises:
        CaptureError: It cannot be run, fails, hangs, or answers anything else.
    """
    try:
        words = shlex.split(command) or [command]
        done = subprocess.run(
            words, input=png_content(rgb), capture_output=True, check=False, timeout=TIMEOUT_S
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise CaptureError(f"capture_filter {command!r} does not run: {error}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-200:]
        raise CaptureError(
            f"capture_filter {command!r} failed with exit code {done.returncode}: {said}"
        )
    try:
        answer = decode_file(done.stdout, ".png", max_pixels=rgb.shape[0] * rgb.shape[1])
    except FrameError as error:
        raise CaptureError(
            f"capture_filter {command!r}: expected a PNG on stdout: {error}"
        ) from error
    if answer.shape != rgb.shape:
        raise CaptureError(
            f"capture_filter {command!r}: expected an image {rgb.shape}, got {answer.shape}"
        )
    return answer
