"""The only room with rclpy and messages: lifecycle node, worker, conversions, diagnostics."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""Before numpy is imported: merging happens on one niced thread, and OpenBLAS's own threads, which
are not niced, spin while they wait for it. On a busy machine that made swaps twenty times longer.
"""
