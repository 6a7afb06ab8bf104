"""Put a study's calibration into the bundle it was made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from semla_ros.bundle import ModelBundle, open_bundle, reseal
from semla_ros.core.errors import BundleError
from semla_ros.core.support_calibration import SupportSettings
from semla_ros.evaluation.analysis.calibration import CalibrationReport, calibrate
from semla_ros.evaluation.analysis.frames import frame_table
from semla_ros.evaluation.study.session import evaluated_sha256
from semla_ros.evaluation.study.study import Study

_RETRIEVAL = ("temperature", "top_k", "distance", "similarity", "null_distance")


def support_settings(study: Study) -> SupportSettings:
    """Return the retrieval under which a study's masks were made.

    Raises:
        BundleError: The study does not say.
    """
    missing = [name for name in _RETRIEVAL if name not in study.info.parameters]
    if missing:
        raise BundleError(f"expected a study that names {missing!r}: evaluate again")
    return SupportSettings(**{name: study.info.parameters[name] for name in _RETRIEVAL})


def write_calibration(
    root: Path, studies: Sequence[Study], *, made_by: str
) -> tuple[ModelBundle, CalibrationReport]:
    """Return the bundle with the calibration of `studies` in its manifest, and the report on it.

    The manifest is replaced when the new one is whole; nothing else of the bundle changes.

    Args:
        root: Bundle folder.
        studies: Evaluations of this bundle under one retrieval, with truth.
        made_by: The command, for the record.

    Raises:
        BundleError: The studies are of another bundle or of different retrievals.
        EvaluationError: They cannot be calibrated, or the promise is worth nothing; the bundle
            stays as it is.
        MissingExtraError: scikit-learn is missing.
    """
    bundle = open_bundle(root)
    own = evaluated_sha256(bundle)
    foreign = sorted({s.info.bundle_sha256[:12] for s in studies if s.info.bundle_sha256 != own})
    if foreign:
        raise BundleError(
            f"expected studies of the bundle in {str(root)!r} ({own[:12]}), got studies of "
            f"{foreign!r}: its files or its library have changed, evaluate it again"
        )
    settings = {support_settings(s) for s in studies}
    if len(settings) != 1:
        raise BundleError(
            f"expected studies under one retrieval, got {len(settings)}: a promise holds under "
            "the one it was made with"
        )
    report = calibrate(frame_table(studies))
    stored = report.stored(settings.pop(), made_by=made_by)
    defaults = replace(bundle.manifest.defaults, calibration=stored)
    return reseal(bundle, defaults=defaults), report
