"""What Prometheus is told: searches, trials, requests and how long they took, open streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from isoshare.search.service.studies.known_studies import Studies
from isoshare.search.service.studies.tally import Tally
from isoshare.storage.opening.database import StoreError

KIND = CONTENT_TYPE_LATEST
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Those of one service. streams: how many streams of events are open."""

    def __init__(self, studies: Studies, streams: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Now(studies, streams))
        self._requests = Counter(
            "isoshare_requests",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "isoshare_request_seconds",
            "Seconds until a request was answered; streams of events are left out.",
            ("route",),
            buckets=BUCKETS,
            registry=self._registry,
        )

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request that has been answered."""
        known = method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE") else "other"
        self._requests.labels(known, route, str(status)).inc()
        if not route.endswith("/events"):
            self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self._registry)


class _Now(Collector):
    """What is true at the moment at which it is asked for."""

    def __init__(self, studies: Studies, streams: Callable[[], int]) -> None:
        self._studies, self._streams = studies, streams
        self._tally = Tally(studies)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Gauges, read from the last look at the database."""
        yield _gauge("event_streams", "Open streams of events.", self._streams())
        try:
            self._studies.check()
            searches, trials = self._tally.searches(), self._tally.trials()
        except StoreError:
            yield _gauge("database_up", "Whether the database answers.", 0)
            return
        yield _gauge("database_up", "Whether the database answers.", 1)
        yield _by_state("searches", "Searches; of unread ones the next answer tells.", searches)
        yield _by_state("trials", "Trials of all studies.", trials)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"isoshare_{name}", text, value=value)


def _by_state(name: str, text: str, counts: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"isoshare_{name}", text, labels=("state",))
    for state, count in counts.items():
        family.add_metric((state,), count)
    return family
