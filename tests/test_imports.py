"""Modules can be imported on systems without POSIX-only modules, such as Windows."""

import subprocess
import sys

IMPORT_ALL = """
import importlib, pkgutil, sys
sys.modules["fcntl"] = sys.modules["resource"] = None
import baicai
for module in pkgutil.walk_packages(baicai.__path__, "baicai."):
    if not module.name.endswith("__main__") and ".migrations" not in module.name:
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            print(module.name)
            print(error, file=sys.stderr)
"""


def test_all_modules_can_be_imported_without_fcntl_and_resource() -> None:
    result = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True)
    assert result.stdout == "", result.stderr
