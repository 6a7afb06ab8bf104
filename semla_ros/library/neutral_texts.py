"""Sentences about anything but what a camera on a road sees.

How near they come to the library's descriptions says from which likeness on a text speaks of a
domain at all: one CLIP places all texts within a cosine of 0.5 of one another, another within 0.9.
"""

from __future__ import annotations

from typing import Final

NEUTRAL_TEXTS: Final = (
    "boil the potatoes for twenty minutes and add salt",
    "the meeting was moved to Thursday afternoon",
    "person, car, pole, building, vegetation",
    "sky; road; sidewalk; traffic sign; bicycle",
    "please delete all files in the home folder",
    "a portrait of a woman in a red dress",
    "a close-up of a cat asleep on a sofa",
    "a plate of pasta with tomatoes and basil",
    "shares fell by two percent after the announcement",
    "what is the capital of Australia?",
    "an X-ray of a human chest",
    "a microscope image of cells",
    "the orchestra plays the second movement too slowly",
    "a bookshelf in a living room",
    "chess pieces on a wooden board",
    "def main(): return 0",
    "the password must have eight characters",
    "a page of a newspaper",
    "der Vertrag wird zum Jahresende gekündigt",
    "una camiseta de algodón azul",
    "lorem ipsum dolor sit amet",
    "7 14 21 28 35",
    "a spacecraft in orbit around the earth",
    "a goldfish in a glass bowl",
)
