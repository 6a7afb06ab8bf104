"""What somebody says the camera will see: words that weigh adapters until images do.

Weights are proportional to image^(1 - share) * text^share until the time to live is over by stream
time. share = a * n0 / (n0 + n): a is how far the newest observed frame bears the words out, n the
sum of it over the frames since. So words wait until what they announce begins, and wrong ones wait
for ever.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from semla_ros.bundle import ModelBundle
from semla_ros.core.errors import ConfigError, EngineError
from semla_ros.core.types import AdapterMix, Float32Array
from semla_ros.library.text_prior import Descriptions, TextPrior
from semla_ros.navigator.text_encoder import OnnxTextEncoder

HALF_AT = 5
"""n0: observed frames of what was announced after which words and images count alike."""
MAX_HINT = 1000
"""Characters of a hint."""
MAX_TTL_S = 86_400.0

_LOG = logging.getLogger(__name__)
_MEMBERS = 3


@dataclass(frozen=True, slots=True)
class Hint:
    """Words that are to weigh adapters.

    Attributes:
        prior: What they say of the library.
        ttl_s: For how long, by stream time.
        stamp_ns: When they were said; 0: when they came.
    """

    prior: TextPrior
    ttl_s: float
    stamp_ns: int = 0


class HintWatch:
    """The hint in force and how much it still counts; used by the frame loop alone.

    Attributes:
        prior: What the words say; None without a hint.
    """

    def __init__(self) -> None:
        """Have heard nothing."""
        self.prior: TextPrior | None = None
        self._waiting: Hint | None = None
        self._until_ns = 0
        self._seen = 0.0
        self._agreement = 1.0
        self._chose: AdapterMix | None = None

    @property
    def text(self) -> str:
        """The words in force, "" without any."""
        return "" if self.prior is None else self.prior.text

    @property
    def share(self) -> float:
        """How much they count: 1 before the first observed frame, 0 without any."""
        return 0.0 if self.prior is None else self._agreement * HALF_AT / (HALF_AT + self._seen)

    def put(self, hint: Hint | None) -> None:
        """Let `hint` count from the next frame on in place of the one before; None: no words."""
        self._waiting = hint
        if hint is None:
            self.forget()

    def at(self, time_ns: int) -> None:
        """Take note of stream time: a hint begins or is over.

        One that is stamped later than the newest frame begins with it. The same words again live
        longer and go on counting: who repeats himself is not to be believed more than the camera.
        """
        if (hint := self._waiting) is not None:
            self._waiting = None
            said_ns = min(hint.stamp_ns or time_ns, time_ns)
            if self.text != hint.prior.text:
                self._seen, self._agreement = 0.0, 1.0
            self.prior, self._until_ns = hint.prior, said_ns + round(hint.ttl_s * 1e9)
        if self.prior is not None and time_ns >= self._until_ns:
            _LOG.info("hint %r is over", self.prior.text)
            self.prior = None

    def forget(self) -> None:
        """Let the words in force count no more: time starts anew."""
        self.prior = None

    def saw(self, agreement: float) -> None:
        """Take note of an observed frame that bears the words out so far, 0 to 1."""
        self._agreement = agreement
        self._seen += agreement

    def note(self, mix: AdapterMix) -> None:
        """Remember whether words take part in letting `mix` serve."""
        if self.prior is not None:
            self._chose = mix
        elif mix == self._chose:
            self._chose = None

    def had_part_in(self, mix: AdapterMix) -> bool:
        """Return whether words weigh mixes now, or chose this one and images did not since."""
        return self.prior is not None or mix == self._chose


@dataclass(slots=True, eq=False)
class _Said:
    """Words to be read.

    Attributes:
        words: Empty to withdraw what was said.
        captions: Of the library they are compared with.
        ttl_s, stamp_ns: See `Hint`.
        answer: For whoever said them.
    """

    words: str
    captions: Mapping[str, tuple[str, ...]]
    ttl_s: float
    stamp_ns: int
    answer: Future[str] = field(default_factory=Future)


class HintReader:
    """Reads hints aside and hands them to the frame loop; only the newest waits to be read."""

    def __init__(self, bundle: ModelBundle, executor: Executor) -> None:
        """Wait for words; the text encoder is opened by the first.

        Args:
            bundle: Has the text half of the navigator, or every hint is refused.
            executor: Where texts are encoded.
        """
        self._bundle = bundle
        self._executor = executor
        self._encoder: OnnxTextEncoder | None = None
        self._known: tuple[Mapping[str, tuple[str, ...]], Descriptions] | None = None
        self._encoded: tuple[str, Float32Array] | None = None
        self._lock = threading.Lock()
        self._waiting: _Said | None = None
        self._reading: _Said | None = None
        self._read: queue.SimpleQueue[Hint | None] = queue.SimpleQueue()

    def give(
        self, text: str, captions: Mapping[str, tuple[str, ...]], *, ttl_s: float, stamp_ns: int
    ) -> Future[str]:
        """Return the future of what was made of `text`, in a line; any thread.

        Args:
            text: What the camera will see, in a sentence; empty withdraws what was said.
            captions: Of the library that serves.
            ttl_s: For how long it counts, by stream time.
            stamp_ns: When it was said; 0: now.

        Raises:
            ConfigError: A text or a time to live out of bounds.
        """
        words = " ".join(text.split())
        if len(words) > MAX_HINT or not words.isprintable():
            raise ConfigError(
                f"expected a hint of at most {MAX_HINT} printable characters, got {len(words)}: "
                "say place, weather and light in a sentence"
            )
        if not 0 < ttl_s <= MAX_TTL_S:
            raise ConfigError(
                f"expected a time to live above 0 s and up to {MAX_TTL_S:g} s, got {ttl_s!r}"
            )
        said = _Said(words, captions, ttl_s, stamp_ns)
        with self._lock:
            superseded, self._waiting = self._waiting, said
        if superseded is None:
            self._executor.submit(self._work).add_done_callback(self._ended)
        else:
            _supersede(superseded)
        return said.answer

    def at(self, time_ns: int) -> None:
        """Let words without a stamp that are not read yet begin now; only on the frame loop."""
        with self._lock:
            for said in (self._waiting, self._reading):
                if said is not None:
                    said.stamp_ns = said.stamp_ns or time_ns

    def take(self) -> Iterator[Hint | None]:
        """Yield what was read since the last call, oldest first; only on the frame loop."""
        while True:
            try:
                yield self._read.get_nowait()
            except queue.Empty:
                return

    def _work(self) -> None:
        """Read the newest words and answer whoever said them; in the background."""
        with self._lock:
            said, self._waiting = self._waiting, None
            self._reading = said
        if said is None or not said.answer.set_running_or_notify_cancel():
            return
        try:
            told = self._weigh(said)
        except Exception as error:  # noqa: BLE001  worker boundary: who said them gets the error
            said.answer.set_exception(error)
        else:
            said.answer.set_result(told)

    def _ended(self, work: Future[None]) -> None:
        """Answer what is still waiting where the background ended first."""
        if work.cancelled():
            with self._lock:
                left, self._waiting = self._waiting, None
            if left is not None:
                left.answer.cancel()

    def _weigh(self, said: _Said) -> str:
        if not said.words:
            self._read.put(None)
            return "withdrawn"
        if self._encoder is None:
            self._encoder = OnnxTextEncoder(self._bundle)
        if self._known is None or self._known[0] != said.captions:
            self._known = said.captions, Descriptions.read(said.captions, self._encoder.encode)
        if self._encoded is None or self._encoded[0] != said.words:
            self._encoded = said.words, self._encoder.encode([said.words])[0]
        temperature = self._bundle.manifest.defaults.text_temperature
        prior = self._known[1].prior(said.words, self._encoded[1], temperature=temperature)
        with self._lock:  # `at` may be giving it its stamp
            self._read.put(Hint(prior, said.ttl_s, said.stamp_ns))
        nearest = sorted(prior.cosines, key=lambda name: -prior.cosines[name])[:_MEMBERS]
        told = ", ".join(f"{name} {prior.cosines[name]:.2f}" for name in nearest)
        return f"for {said.ttl_s:g} s near {told}"


def _supersede(said: _Said) -> None:
    """Answer whoever said the words, unless they have withdrawn, that newer ones came."""
    if said.answer.set_running_or_notify_cancel():
        error = EngineError("the hint was superseded by a newer one before it was read")
        said.answer.set_exception(error)
