"""Small helps for XML."""

from __future__ import annotations

from xml.etree import ElementTree as ET


def add_text(parent: ET.Element, tag: str, text: str, **attributes: str) -> ET.Element:
    """Adds an element that holds a text, and returns it."""
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element
