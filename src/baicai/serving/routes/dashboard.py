"""Read-only routes behind the web page's views of runs and of the release catalog."""

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query

from baicai.errors import ArtefactError, ConfigError, MachineError
from baicai.run_reader import LAST_STEP, list_runs, read_run
from baicai.serving.config import ServeRecipe
from baicai.serving.errors import ApiError

MAX_POINTS = 5000
AfterStep = Annotated[int, Query(ge=0, lt=LAST_STEP)]
NumPoints = Annotated[int, Query(ge=1, le=MAX_POINTS)]
SliceQuery = Annotated[str, Query(max_length=1000)]


class Row(Protocol):
    """A named tuple of plain values."""

    def _asdict(self) -> dict[str, Any]: ...


class Catalog(Protocol):
    """Releases of text and their contents."""

    address: str
    """URL of the catalog's database, without its password."""

    def entries(self, query: str) -> Sequence[Row]:
        """List the releases that may contain a slice."""

    def holdings(self, release: str) -> Sequence[Row]:
        """List the contents of the release with a hash; empty if it is unknown."""


def add_dashboard_routes(app: FastAPI, config: ServeRecipe, catalog: Catalog | None) -> None:
    """Add the routes. They run in threads, because disks and databases may be slow."""
    routes = _Routes(config.runs_dir, catalog)
    app.add_api_route("/v1/runs", routes.list_runs, methods=["GET"])
    app.add_api_route("/v1/runs/{name:path}", routes.show_run, methods=["GET"])
    app.add_api_route("/v1/catalog", routes.list_releases, methods=["GET"])
    app.add_api_route("/v1/catalog/{release}", routes.show_release, methods=["GET"])


class _Routes:
    def __init__(self, runs_dir: str, catalog: Catalog | None) -> None:
        self._runs_dir, self._catalog = runs_dir, catalog

    def list_runs(self) -> dict[str, Any]:
        """List the runs, with the state and the latest metrics of each."""
        return {"object": "list", "data": list_runs(self._runs_dir)}

    def show_run(self, name: str, after: AfterStep = 0, points: NumPoints = 1000) -> dict[str, Any]:
        """Show one run: its recipe, its metrics after a step, its quality and its routing."""
        try:
            return dict(read_run(self._runs_dir, name, after, points))
        except ArtefactError:
            raise ApiError(f"The run '{name}' does not exist.", code="run_not_found", status=404) from None

    def list_releases(self, slice: SliceQuery = "") -> dict[str, Any]:  # noqa: A002  (name of the query parameter)
        """List the releases of text that may contain a slice such as `domain=law language=de`."""
        if self._catalog is None:
            return {"object": "list", "catalog": None, "data": []}
        try:
            releases = self._catalog.entries(slice)
        except ConfigError as error:
            raise ApiError(str(error), param="slice", code="invalid_value") from None
        except MachineError as error:
            raise _unavailable(error) from None
        data = [release._asdict() for release in releases]
        return {"object": "list", "catalog": self._catalog.address, "data": data}

    def show_release(self, release: str) -> dict[str, Any]:
        """Show the contents of the release with a hash, by domain, language and licence."""
        try:
            holdings = self._catalog.holdings(release) if self._catalog else []
        except MachineError as error:
            raise _unavailable(error) from None
        if not holdings:
            raise ApiError(f"The release '{release}' does not exist.", code="release_not_found", status=404)
        return {"object": "release", "hash": release, "holdings": [holding._asdict() for holding in holdings]}


def _unavailable(error: MachineError) -> ApiError:
    return ApiError(str(error), code="catalog_unavailable", status=503)
