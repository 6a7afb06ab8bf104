"""Replays recordings through the live pipeline and turns the answers into numbers and pages.

`replay` is a function from a pipeline and frames to one `ReplayResult`, which is saved as
`results.json` and read again without bag or model; pictures and pages are drawn from it.
"""
