"""What happens to a service while it is soaked: searches come and go, and so does its database."""

from __future__ import annotations

import http.client
import json
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

API = "/api/v1"
SEARCH = {"driver": "simulate", "table": "sharebench-digits", "trials": 30, "workers": 1}
KEPT = 2
"""So many of the searches stay when the next one comes."""
AWAY_SECONDS, BACK_SECONDS, WAIT_SECONDS = 3.0, 3.0, 180.0


class Work:
    """Rounds of work on one service.

    away, just_back: where the database is. counted: how many trials of each study had finished.
    deeds: what was done. lost: what is not as it must be.
    """

    def __init__(self, port: int, lost: Counter[str]) -> None:
        self._port, self._lost = port, lost
        self._rounds = 0
        self._back_at = float("-inf")
        self.away = False
        self.counted: dict[str, int] = {}
        self.deeds: Counter[str] = Counter()

    @property
    def just_back(self) -> bool:
        """Whether answers may still be about a database that is away."""
        return time.monotonic() - self._back_at < BACK_SECONDS

    def round(self, file: Path) -> None:
        """Launch, stop and resume or let be, lose the database, delete."""
        name = f"soak-{self._rounds}"
        if self._do("launched", "POST", "/studies", {"study": name, **SEARCH}) == 201:
            if self._rounds % 2:
                self._stop_and_resume(name)
            self._wait(name, "finished")
            self.counted[name] = self._ask("GET", f"/studies/{name}")[1]["finished"]
        self._lose(file, copied=bool(self._rounds % 2))
        olds = [old for old in self.counted if old != "big"][:-KEPT]
        for old in olds:
            if self._do("deleted", "DELETE", f"/studies/{old}") == 204:
                del self.counted[old]
        self._rounds += 1

    def check_audit(self) -> None:
        """Note deeds that the audit has not."""
        _, page = self._ask("GET", "/audit?limit=500")
        told = Counter(deed["did"] for deed in page["items"])
        for deed in ("launched", "stopped", "resumed", "deleted"):
            if told[deed] != self.deeds[deed]:
                self._lost[f"{self.deeds[deed]} {deed}, the audit has {told[deed]}"] += 1

    def _stop_and_resume(self, name: str) -> None:
        if self._do("stopped", "POST", f"/studies/{name}/stop") == 202:
            self._wait(name, "interrupted")
            self._do("resumed", "POST", f"/studies/{name}/resume")

    def _lose(self, file: Path, copied: bool) -> None:
        """Take the files of the database away, and bring them, or copies of them, back."""
        away = file.with_name("away")
        away.mkdir()
        self.away = True
        for part in sorted(file.parent.glob(f"{file.name}*")):
            part.rename(away / part.name)
        time.sleep(AWAY_SECONDS)
        if self._ask("GET", "/health")[0] != 503:
            self._lost["a database that was away was called healthy"] += 1
        for part in sorted(away.iterdir(), reverse=True):
            if not (copied and part.name.endswith("-shm")):  # SQLite makes it anew
                (shutil.copy if copied else shutil.move)(part, file.parent)
        self._back_at, self.away = time.monotonic(), False
        shutil.rmtree(away)
        time.sleep(BACK_SECONDS)
        if self._ask("GET", "/health")[0] != 200:
            self._lost["a database that was back was not found"] += 1
        self.deeds["database away"] += 1
        self._recount()

    def _recount(self) -> None:
        """Note trials that are not there any more."""
        for name, number in self.counted.items():
            now = self._ask("GET", f"/studies/{name}")[1].get("finished")
            if now != number:
                self._lost[f"{name} had {number} finished trials, has {now}"] += 1

    def _wait(self, name: str, state: str) -> None:
        until = time.monotonic() + WAIT_SECONDS
        while (found := self._ask("GET", f"/studies/{name}")[1]).get("state") != state:
            if found.get("state") == "failed" or time.monotonic() > until:
                said = f"{found.get('state')}: {found.get('message')}"
                self._lost[f"{name} is not {state} but {said}"] += 1
                return
            time.sleep(0.5)

    def _do(self, deed: str, method: str, path: str, body: object = None) -> int:
        """Do it and count it; a search that ended before it could be stopped is all right."""
        status, answer = self._ask(method, path, body)
        if status < 300:
            self.deeds[deed] += 1
        elif (deed, status) != ("stopped", 409):
            self._lost[f"{deed}: {status} {answer}"] += 1
        return status

    def _ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        headers = {"Content-Type": "application/json"}
        connection.request(method, API + path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text else {}
