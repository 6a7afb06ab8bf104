"""How the demo model is made: scenes, a small CLIP, CAT-Seg, adapters, calibration, card."""
