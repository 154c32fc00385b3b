"""Runs inside the packages tree, under the very Python that ships: imports the agent, then compiles what was imported.

Reads a JSON request on standard input: {"first": [...], "packages": [...], "modules": [...], "out": DIR}; packages are
walked, modules imported. Writes compiled files under DIR/<path in the image> and prints, in the order of import,
{"path in image": "source path"}.
"""

import importlib
import json
import pkgutil
import py_compile
import sys
from pathlib import Path

PACKAGES = "/usr/lib/python3/dist-packages"
request = json.load(sys.stdin)
for name in request["first"]:
    importlib.import_module(name)
for name in request["packages"]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        if module.name not in request["leave_out"]:
            importlib.import_module(module.name)
for name in request["modules"]:
    importlib.import_module(name)


def compiled(source: Path, inside: str, *, optimize: int) -> dict[str, str]:
    """Compiles one file; nothing in the image changes, so nothing is compared with a source that is not there."""
    target = Path(request["out"] + inside).with_suffix(".pyc")
    target.parent.mkdir(parents=True, exist_ok=True)
    py_compile.compile(
        str(source), str(target), dfile=inside, doraise=True, optimize=optimize,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )  # fmt: skip
    return {"file": str(target), "source": str(source)}


# What was imported; and the whole of the packages that import parts of themselves by name, later. Those read their
# own __init__.py for that (anyio's lazy imports), so it stays as source.
found = {}
sources = {Path(file): None for module in sys.modules.values() if (file := getattr(module, "__file__", None))}
sources.pop(Path(__file__))
for wheels in request["wheels"]:
    for name in request["whole"]:
        more = sorted(path for path in Path(wheels, name).rglob("*.py") if path.name != "pytest_plugin.py")
        sources |= dict.fromkeys(more)
for source in sources:
    home = next((root for root in (*request["ours"], *request["wheels"]) if source.is_relative_to(root)), None)
    inside = f"{PACKAGES}/{source.relative_to(home)}" if home else str(source)
    whole = home and source.relative_to(home).parts[0] in request["whole"]
    if source.suffix == ".py" and not (whole and source.name == "__init__.py"):
        # Docstrings are for those who read the source, and this image holds none.
        found[str(Path(inside).with_suffix(".pyc"))] = compiled(source, inside, optimize=2)
    else:
        found[inside] = {"file": str(source), "source": str(source)}
json.dump(found, sys.stdout)
