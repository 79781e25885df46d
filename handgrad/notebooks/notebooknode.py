"""nbformat's notebooks, without the second that one of its optional imports takes.

nbformat imports jsonschema for its validator, and that builds a parser of web addresses, for a format
that no notebook's schema has. A notebook here is restored from the release, not validated.
"""

import sys
from types import ModuleType
from typing import cast

_SLOW = "rfc3987_syntax"

# None in this place is Python's own word for a module that is not there.
_hidden = "jsonschema" not in sys.modules and _SLOW not in sys.modules
if _hidden:
    sys.modules[_SLOW] = cast(ModuleType, None)
try:
    from nbformat import NotebookNode, from_dict
    from nbformat.v4 import nbjson, new_code_cell, new_markdown_cell, new_notebook
finally:
    if _hidden:
        del sys.modules[_SLOW]

__all__ = [
    "NotebookNode",
    "from_dict",
    "nbjson",
    "new_code_cell",
    "new_markdown_cell",
    "new_notebook",
]
