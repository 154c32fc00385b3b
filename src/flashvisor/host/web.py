"""HTTP requests that the server itself makes. Standard library only.

answers("https://example.com/health", timeout=10.0)
"""

from __future__ import annotations

import http.client
import ssl
import urllib.request

SCHEMES = ("http://", "https://")


def answers(url: str, timeout: float) -> bool:
    """Returns whether a GET of `url` is answered with a success within `timeout` seconds.

    Who answers is not proven: what is asked for is that the network leads there.
    """
    if not url.startswith(SCHEMES):
        return False
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        # Anything but a success, after redirects, is raised as an HTTPError, an OSError.
        urllib.request.urlopen(url, timeout=timeout, context=context).close()  # noqa: S310 - the scheme was checked
    except (OSError, ValueError, http.client.HTTPException):  # the last: what answers does not speak HTTP
        return False
    return True
