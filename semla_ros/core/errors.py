"""The exception tree; every message says what was expected, what came, and the remedy.

The classes that only one room raises stand in that room; all are in the drawing.

SemlaError
├── ConfigError              a parameter or option is wrong: change the value
├── FrameError               one camera frame cannot be used: the next one may be fine
│   └── FrameTooOldError     it was old when its turn came: the machine does not keep up
├── BundleError              the bundle is incomplete, edited or of another version: restore it
├── LibraryError             the adapter library cannot answer
│   ├── AdapterError         one adapter is unusable: repair or remove it, the others still serve
│   │   └── AdapterMismatchError   it was made for another base model or encoder
│   └── EmptyLibraryError    there is no adapter to choose from
├── EngineError              the segmentation engine failed: the old weights keep serving
│   ├── EngineUnavailableError   the requested backend cannot run here: install it or take another
│   │   └── PlanMissingError       it only lacks a plan: build it
│   ├── PlanRefusedError     TensorRT does not take a plan it made before: build it again
│   └── CudaError            a GPU call failed: the process may have to be started again
├── VocabularyError          the class list is unusable: change it
├── BagError                 a recording cannot be read or written
├── EvaluationError          results cannot be computed, saved or read
│   └── MissingExtraError    a library of the extra `evaluate` is not installed: install it
├── CaptureError             captured frames cannot be kept, read or labelled
└── TrainingError            training or building cannot go on with these inputs
"""

MAX_MESSAGE = 3000


class SemlaError(Exception):
    """Base of everything this package raises on purpose; its message is one line, not endless.

    Messages quote what files and other libraries say, and those say anything.
    """

    def __str__(self) -> str:
        """Return the message."""
        text = super().__str__()
        if "\n" in text or "\r" in text:
            text = " ".join(text.split())
        return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…"


class ConfigError(SemlaError):
    """A parameter or option has a wrong name, type or value."""


class FrameError(SemlaError):
    """A camera frame is malformed; the stream goes on."""


class FrameTooOldError(FrameError):
    """A camera frame was older than `max_image_age_s` when its turn came, or its answer."""


class BundleError(SemlaError):
    """A model bundle is incomplete, edited, or made for another version."""


class LibraryError(SemlaError):
    """The adapter library cannot do what was asked."""


class AdapterError(LibraryError):
    """One adapter is missing, damaged or of an unsupported kind."""


class AdapterMismatchError(AdapterError):
    """An adapter was made for another base model, or its centroid by another encoder."""


class EmptyLibraryError(LibraryError):
    """There is no adapter to choose from."""


class EngineError(SemlaError):
    """The engine could not prepare, commit or infer."""


class EngineUnavailableError(EngineError):
    """The requested backend cannot run on this machine."""


class PlanMissingError(EngineUnavailableError):
    """All that keeps TensorRT from serving is a plan, which takes minutes to build."""


class VocabularyError(SemlaError):
    """A class list is empty, repeated or too long."""


class BagError(SemlaError):
    """A recording cannot be read or written."""


class EvaluationError(SemlaError):
    """Results cannot be computed, saved or read with these inputs."""


class CaptureError(SemlaError):
    """Captured frames cannot be kept, read or labelled with these inputs."""


class TrainingError(SemlaError):
    """Training, evaluating or building cannot go on with these inputs."""
