"""What the reader of `semla bench node` has to know of its figures."""

from __future__ import annotations

from semla_ros.bench.node_bench import NodeBench, NodeBenchRequest
from semla_ros.bench.node_run import HANDOVER_MS, LATE_MS, STALL_MS


def node_notes(request: NodeBenchRequest, bench: NodeBench) -> tuple[str, ...]:
    """Return how the figures were taken and what they mean."""
    runs = [run for m in bench.measured for run in m.runs]
    peak = (
        f"The peak is the highest rate at which at most {request.loss:.0%} of the frames are "
        "lost, found by bisection until the interval is 3 % of the rate; runs there are as long "
        "as the others."
    )
    return (
        f"Played: {bench.film.source} (sha256 {bench.film.sha256[:12]}), {request.seconds:g} s "
        f"a run, {request.repeats} repeats, interleaved; percentiles are over all frames of all "
        "repeats, nothing is trimmed.",
        "Latency is from when an image is due to the arrival of its mask in another process, "
        "matched by header stamp; `overhead` is that less the frame's own time in the network, "
        "`over_bare` is p50 less p50 of the network alone in a process without ROS at the same "
        "pace. `relay` is the p50 of a process that answers each image at once with an empty mask "
        "of its size: what two messages of that size and the stopwatch take by themselves; it is "
        "part of the overhead and not taken off.",
        f"Stale are masks that were begun while a newer image had been waiting for over "
        f"{HANDOVER_MS:g} ms, came twice or out of order; masks older than {LATE_MS:g} ms at "
        "publication are counted beside.",
        f"A frame is stalled by a swap if the frame loop waited over {STALL_MS:g} ms for the "
        "commit (a busy machine can do that to any frame: compare with those while quiet); while "
        "swapping, mixes are pinned in turns, each once the one before serves.",
        "CPU is in percent of one core; the processor is that of the whole node, navigator and "
        "swaps included.",
        "False swaps are swaps of the node's own accord while one weather is played.",
        *_on_setups(request),
        *((peak,) if request.peak else ()),
        f"{len(runs)} runs, {sum(len(r.sent_ns) for r in runs)} frames in all.",
    )


def _on_setups(request: NodeBenchRequest) -> tuple[str, ...]:
    """Return what to know of the executors and middlewares that were compared."""
    events = (
        "`events`, rclpy's experimental executor, ends the process where a publisher is destroyed "
        "while one of its events waits (rclpy issue 1644), as a lifecycle cleanup can: it is not "
        "the default. The stopwatch, which destroys nothing, uses it where there is one."
    )
    middleware = (
        "A camera is best effort: what the middleware loses stays lost (column `missed`). The "
        "package's profile gives Fast DDS 32 MiB of shared memory instead of 0.5, less than one "
        "raw image of this size. Where the profile cannot be set, a reliable subscription "
        "(`qos_overrides.<topic>.subscription.reliability: reliable`) asks again for what is lost."
    )
    return (
        *((events,) if any(s.executor == "events" for s in request.setups) else ()),
        *((middleware,) if any(s.middleware != "shm" for s in request.setups) else ()),
    )
