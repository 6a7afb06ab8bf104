"""Lets tools that still call setup.py work; everything is in pyproject.toml."""

from setuptools import setup

setup()
