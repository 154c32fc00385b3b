"""What the image's Python needs beyond what importing the agent finds."""

from __future__ import annotations

import re
from pathlib import Path

import flashvisor
from flashvisor.image.pythonfiles import our_files
from flashvisor.image.recipes import load

CODEC = re.compile(r"(?:en|de)code\(\"([\w-]+)\"")
BUILT_IN = "utf-8"  # the interpreter's own; any other is a module that is imported when it is first used


def test_every_codec_that_our_code_names_is_in_the_image() -> None:
    texts = [path.read_text() for path in our_files(Path(flashvisor.__file__).parents[1])]
    named = {name for text in texts for name in CODEC.findall(text)}
    assert "utf-16-le" in named
    modules = {f"encodings.{name.replace('-', '_').lower()}" for name in named - {BUILT_IN}}
    assert modules <= set(load().python.extra)
