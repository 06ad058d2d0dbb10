"""What the page shows beside answers: runs, and the catalogue of text. It is read, never changed."""

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query

from baicai.errors import ConfigError, MachineError
from baicai.serving.config import ServeRecipe
from baicai.serving.errors import ApiError
from baicai.serving.routes.run_reader import LAST_STEP, list_runs, show_run

MAX_POINTS = 5000
After = Annotated[int, Query(ge=0, lt=LAST_STEP)]
Points = Annotated[int, Query(ge=1, le=MAX_POINTS)]
Wanted = Annotated[str, Query(max_length=1000)]


class Row(Protocol):
    """A named tuple of plain values."""

    def _asdict(self) -> dict[str, Any]: ...


class Catalog(Protocol):
    """Which releases of text there are, and what each holds."""

    address: str
    """Where it is, without a password."""

    def entries(self, wanted: str) -> Sequence[Row]:
        """Return the releases that may hold what a slice asks for."""

    def holdings(self, release: str) -> Sequence[Row]:
        """Return what the release with a hash holds, none if there is no such release."""


def add_overview(app: FastAPI, config: ServeRecipe, catalog: Catalog | None) -> None:
    """Add the routes, which run beside the event loop: disks and databases may be slow."""
    routes = _Routes(config.runs_dir, catalog)
    app.add_api_route("/v1/runs", routes.list_runs, methods=["GET"])
    app.add_api_route("/v1/runs/{name:path}", routes.show_run, methods=["GET"])
    app.add_api_route("/v1/catalog", routes.list_releases, methods=["GET"])
    app.add_api_route("/v1/catalog/{release}", routes.show_release, methods=["GET"])


class _Routes:
    def __init__(self, runs: str, catalog: Catalog | None) -> None:
        self._runs, self._catalog = runs, catalog

    def list_runs(self) -> dict[str, Any]:
        """Tell which runs there are, how it stands with each, and what it logged last."""
        return {"object": "list", "data": list_runs(self._runs)}

    def show_run(self, name: str, after: After = 0, points: Points = 1000) -> dict[str, Any]:
        """Tell of one run: its recipe, what it logged after a step, its quality and its routing."""
        return show_run(self._runs, name, after, points)

    def list_releases(self, slice: Wanted = "") -> dict[str, Any]:  # noqa: A002  (its name in the address)
        """Tell which releases of text may hold what a slice asks for, such as `domain=law language=de`."""
        if self._catalog is None:
            return {"object": "list", "catalog": None, "data": []}
        try:
            found = self._catalog.entries(slice)
        except ConfigError as error:
            raise ApiError(str(error), param="slice", code="invalid_value") from None
        except MachineError as error:
            raise _unavailable(error) from None
        return {"object": "list", "catalog": self._catalog.address, "data": [one._asdict() for one in found]}

    def show_release(self, release: str) -> dict[str, Any]:
        """Tell what the release with a hash holds, by domain, language and licence."""
        try:
            found = self._catalog.holdings(release) if self._catalog else []
        except MachineError as error:
            raise _unavailable(error) from None
        if not found:
            raise ApiError(f"There is no release '{release}' here.", code="release_not_found", status=404)
        return {"object": "release", "hash": release, "holdings": [one._asdict() for one in found]}


def _unavailable(error: MachineError) -> ApiError:
    return ApiError(str(error), code="catalog_unavailable", status=503)
