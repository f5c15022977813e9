"""Provoke the errors about layers."""

from __future__ import annotations

from tests.docs.troubles.registry import Place, catch, provokes

from bandmaster.kernel import MiddlewareBand, middleware

POLICY = MiddlewareBand.POLICY


@provokes("A hook that nothing calls")
def _(place: Place) -> str:
    class Stamps:
        def on_request(self, exchange): ...

        def on_reponse_start(self, exchange): ...

    return catch(lambda: middleware(band=POLICY)(Stamps))


@provokes("A hook with other parameters")
def _(place: Place) -> str:
    class Stamps:
        def on_error(self, exchange): ...

    return catch(lambda: middleware(band=POLICY)(Stamps))


@provokes("A class in neither form of a layer")
def _(place: Place) -> str:
    class Stamps:
        def stamp(self, exchange): ...

    return catch(lambda: middleware(band=POLICY)(Stamps))
