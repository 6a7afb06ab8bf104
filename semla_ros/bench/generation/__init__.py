"""Adapters from words, measured: SG-LoRA on its own kind of task, and a ladder for masks."""
