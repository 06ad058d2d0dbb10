"""Static files of the web page, built from `web/`."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse

FOLDER = Path(__file__).parents[1] / "page"
FILES = {"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"}
"""Files of the page by URL path."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


async def show_page(request: Request) -> FileResponse:
    """Serve a file of the page."""
    return FileResponse(FOLDER / FILES[request.url.path], headers=HEADERS)
