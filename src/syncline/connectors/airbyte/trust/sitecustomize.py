"""Runs at the start of a connector's Python: makes certifi give the certificate authorities that the user has set.

Version 6 of Airbyte's CDK sends its requests past the settings of the environment, so that REQUESTS_CA_BUNDLE alone
does nothing there; certifi's own file is what it trusts.
"""

from __future__ import annotations

import os

_bundle = os.environ.get("REQUESTS_CA_BUNDLE")
if _bundle:
    try:
        import certifi
        import certifi.core
    except ImportError:
        pass
    else:

        def _where() -> str:
            return str(_bundle)

        certifi.where = certifi.core.where = _where
