"""The simulators as a benchmark's other side: a process of their own, asked and changed while it runs."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import requests

SEED: Final = 4


@dataclass(frozen=True, slots=True)
class Simulated:
    """Simulators that run. `info` is what they say of themselves: addresses, credentials, IDs."""

    info: dict[str, Any]
    _session: requests.Session

    def asked(self) -> dict[str, int]:
        """How often Graph and Entra were asked since the start, by kind."""
        return {"single": 0, "batch": 0, "part": 0, "sign_in": 0, **self._get("requests")}

    def asked_onprem(self) -> dict[str, int]:
        """How often Exchange on premises was asked since the start, by operation."""
        return dict(self._get("requests?at=onprem"))

    def holdings(self) -> dict[str, int]:
        """How much there is to read, by kind."""
        return dict(self._get("holdings"))

    def person(self, number: int) -> dict[str, Any]:
        """One person of a grown company, with mailbox and contacts."""
        (person,) = self._get(f"company?person=user{number:06d}@load.example")["people"]
        return dict(person)

    def change_contact(self, person: dict[str, Any], number: int) -> None:
        """Gives a contact of somebody's first folder another job."""
        item = person["mailbox"]["folders"][0]["items"][number]
        job = f"{item['job_title']} II"
        self._post("company", do="change_contact", object_id=person["object_id"], item_id=item["id"], job_title=job)

    def set_picture(self, person: dict[str, Any], number: int, content: bytes) -> None:
        """Gives a contact of somebody's first folder a picture."""
        item, photo = person["mailbox"]["folders"][0]["items"][number], base64.b64encode(content).decode()
        self._post("company", do="set_contact_photo", object_id=person["object_id"], item_id=item["id"], photo=photo)

    def delay(self, seconds: float) -> None:
        """Lets so much time pass before every answer."""
        self._post("behaviour", latency=seconds)

    def delay_onprem(self, seconds: float) -> None:
        """The same for Exchange on premises."""
        self._post("faults", do="arm", name="latency", seconds=seconds)

    def arm(self, rates: dict[str, float]) -> None:
        """Lets faults strike from now on, each at its rate; only these."""
        self._post("faults", do="clear")
        for name, rate in rates.items():
            self._post("faults", do="arm", name=name, rate=rate)

    def struck(self) -> tuple[int, int]:
        """How often faults struck since they were armed, and how many seconds they asked to wait, all together."""
        modes = self._get("faults")["modes"]
        return sum(mode["struck"] for mode in modes), sum(mode["asked_seconds"] for mode in modes)

    def _get(self, what: str) -> Any:
        return self._answer(self._session.get(f"{self.info['control_url']}/{what}", timeout=600))

    def _post(self, what: str, **arguments: Any) -> None:
        self._answer(self._session.post(f"{self.info['control_url']}/{what}", json=arguments, timeout=60))

    @staticmethod
    def _answer(response: requests.Response) -> Any:
        response.raise_for_status()
        return response.json()


@contextmanager
def simulators(side: str, people: int, contacts: int, *, own_core: bool = False) -> Iterator[Simulated]:
    """Runs the simulators of one side with a grown company.

    Args:
        side: `online` or `onprem`.
        people: How many mailboxes.
        contacts: How many contacts in each.
        own_core: Whether they get a core that this process and what it starts keep off. With a single core nobody does.
    """
    command = [sys.executable, "-m", "tests.simulators", f"--{side}", "0", "--seed", str(SEED)]
    command += ["--people", str(people), "--contacts-per-mailbox", str(contacts)]
    cores = os.sched_getaffinity(0)
    if own_core:
        os.sched_setaffinity(0, {max(cores)})  # a process starts on the cores of the one that starts it
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running, requests.Session() as session:
        try:
            if own_core:
                os.sched_setaffinity(0, {min(cores)})
            assert running.stdout is not None  # noqa: S101  (it is a pipe)
            info = json.loads(running.stdout.readline())
            session.trust_env, session.verify = False, info["ca_file"]
            yield Simulated(info, session)
        finally:
            os.sched_setaffinity(0, cores)
            running.terminate()
