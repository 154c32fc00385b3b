"""Runs inside the packages tree, under the very Python that ships: imports the agent, then compiles what was imported.

Reads a JSON request on standard input: {"packages": [...], "modules": [...], "out": DIR}; packages are walked,
modules imported. Writes compiled files under DIR/<path in the image> and prints {"path in image": "source path"}.
"""

import importlib
import json
import pkgutil
import py_compile
import sys
from pathlib import Path

request = json.load(sys.stdin)
for name in request["packages"]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        if module.name not in request["leave_out"]:
            importlib.import_module(module.name)
for name in request["modules"]:
    importlib.import_module(name)

found = {}
for name, module in sorted(sys.modules.items()):
    file = getattr(module, "__file__", None)
    if not file or name == "__main__":
        continue
    source = Path(file)
    home = next((root for root in request["roots"] if source.is_relative_to(root)), None)
    if home:
        inside = f"/usr/lib/python3/dist-packages/{source.relative_to(home)}"
    else:
        inside = str(source)
    if source.suffix == ".py":
        target = Path(request["out"] + inside).with_suffix(".pyc")
        target.parent.mkdir(parents=True, exist_ok=True)
        # Nothing in the image changes, so nothing is compared with a source that is not there.
        py_compile.compile(
            str(source), str(target), dfile=inside, doraise=True, optimize=0 if home else 2,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )  # fmt: skip
        found[str(Path(inside).with_suffix(".pyc"))] = {"file": str(target), "source": str(source)}
    else:
        found[inside] = {"file": str(source), "source": str(source)}
json.dump(found, sys.stdout)
