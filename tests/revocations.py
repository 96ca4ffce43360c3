"""Two gateways on one store, a revocation, and something killed meanwhile: `python -m tests.revocations 100 [--database postgres] [--seed 7]`.

In each trial both accept a token, somebody revokes it by the command line, and one of the three processes is killed with SIGKILL: a gateway
before the revocation, a gateway right after it was confirmed, or the command line at any moment, which is then run again. From the moment at
which the command line has confirmed, no gateway may accept the token for longer than `poll` and one second; one that was killed and started
again may not accept it at all. Nothing else may change: another token goes on, and nobody is refused because of the store.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

if __name__ == "__main__":  # the modules of the tests import each other by their own names, as pytest has it
    sys.path.insert(0, str(Path(__file__).resolve().parent))

import httpx

import servers
from place import Place, configuration

__all__ = ["KINDS", "Agreement", "Trial", "agreement"]

KINDS: Final = ("gateway before", "gateway after", "command line")
POLL: Final = 0.2
BOUND: Final = POLL + 1.0
_START_SECONDS: Final = 60.0


@dataclass
class Trial:
    """What became of one: how long after the confirmation each gateway still accepted the token, in seconds, and what was wrong."""

    kind: str
    delays: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Agreement:
    """A store, and two gateways on it."""

    def __init__(self, folder: Path, state: dict[str, Any]) -> None:
        self._place = Place(folder)
        self._folder = folder
        document = configuration()
        document["state"] = {**state, "poll": f"{int(POLL * 1000)}ms", "max_stale": "30s"}
        self._place.file.write_text(yaml.safe_dump(document, sort_keys=False))
        self._run("revoke", "init")
        self._gateways: list[subprocess.Popen[bytes] | None] = [None, None]
        self._urls = ["", ""]
        self._client = httpx.Client(timeout=10)
        self._kept = self._place.token(minutes=110)
        for number in (0, 1):
            self._start(number)

    def trial(self, number: int, kind: str, source: random.Random) -> Trial:
        """One trial. It leaves two running gateways."""
        trial, jti = Trial(kind), f"trial-{number}"
        token, hit = self._place.sign(jti=jti, iat=int(time.time())), source.randrange(2)
        for gateway in (0, 1):
            self._expect(trial, gateway, token, "allowed")
        if kind == "gateway before":
            self._kill(hit)
        if kind == "command line":
            self._killed_in_between(jti, source.uniform(0.0, 1.2))
            for gateway in (0, 1):  # revoked or not, but nobody is refused because the store is broken
                if (code := self._ask(gateway, token)) not in {"allowed", "token_revoked"}:
                    trial.wrong.append(f"after the command line was killed: {code}")
        self._run("revoke", "jti", jti)
        confirmed = time.monotonic()
        if kind == "gateway after":
            self._kill(hit)
        for gateway in (0, 1):
            if self._gateways[gateway] is not None:
                trial.delays.append(self._refused_after(trial, gateway, token, confirmed))
        if self._gateways[hit] is None:
            self._start(hit)
            self._expect(trial, hit, token, "token_revoked")
        for gateway in (0, 1):
            self._expect(trial, gateway, token, "token_revoked")
            self._expect(trial, gateway, self._kept, "allowed")
        return trial

    def close(self) -> None:
        self._client.close()
        for number in (0, 1):
            if self._gateways[number] is not None:
                self._kill(number)

    def _refused_after(self, trial: Trial, gateway: int, token: str, confirmed: float) -> float:
        """How long after the confirmation it last accepted the token."""
        last = confirmed
        while True:
            asked = time.monotonic()
            code = self._ask(gateway, token)
            if code == "token_revoked":
                return last - confirmed
            if code != "allowed":
                trial.wrong.append(f"gateway {gateway} said {code}")
                return last - confirmed
            last = asked
            if asked - confirmed > BOUND:
                trial.wrong.append(f"gateway {gateway} accepts the token {asked - confirmed:.2f} seconds after the confirmation")
                return last - confirmed
            time.sleep(0.02)

    def _expect(self, trial: Trial, gateway: int, token: str, expected: str) -> None:
        if (code := self._ask(gateway, token)) != expected:
            trial.wrong.append(f"gateway {gateway} said {code}, not {expected}")

    def _ask(self, gateway: int, token: str) -> str:
        answer = self._client.post(f"{self._urls[gateway]}/v1/query", headers={"Authorization": f"Bearer {token}"}, json={"sql": "SELECT order_id FROM orders"})
        return "allowed" if answer.status_code == 200 else str(answer.json()["code"])

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "rowseal.cli", *arguments, "--config", str(self._place.file)]

    def _run(self, *arguments: str) -> None:
        subprocess.run(self._command(*arguments), check=True, capture_output=True)

    def _killed_in_between(self, jti: str, seconds: float) -> None:
        writing = subprocess.Popen(self._command("revoke", "jti", jti), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            writing.wait(seconds)
        except subprocess.TimeoutExpired:
            writing.send_signal(signal.SIGKILL)
            writing.wait()

    def _start(self, number: int) -> None:
        said = self._folder / f"gateway-{number}.txt"
        with said.open("wb") as err:
            process = subprocess.Popen(self._command("serve", "--port", "0"), stdout=subprocess.DEVNULL, stderr=err)
        self._gateways[number] = process
        limit = time.monotonic() + _START_SECONDS
        while (found := re.search(r" on (http://\S+)[\s\S]*reload ", said.read_text())) is None:
            if time.monotonic() > limit or process.poll() is not None:
                raise RuntimeError(f"the gateway did not start: {said.read_text()}")
            time.sleep(0.02)
        self._urls[number] = found[1]

    def _kill(self, number: int) -> None:
        process = self._gateways[number]
        assert process is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
        self._gateways[number] = None


@contextmanager
def agreement(folder: Path, state: dict[str, Any]) -> Iterator[Agreement]:
    """Two gateways on this state, stopped at the end."""
    made = Agreement(folder, state)
    try:
        yield made
    finally:
        made.close()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.revocations", description="Revoke, kill, and see that two gateways agree.")
    parser.add_argument("trials", type=int)
    parser.add_argument("--database", choices=("file", "sqlite", "postgres"), default="file")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    source, run = random.Random(options.seed), servers.Run.begin()
    try:
        with tempfile.TemporaryDirectory() as folder:
            if options.database == "file":
                state = {"file": "revoked.jsonl"}
            elif options.database == "sqlite":
                state = {"database": "sqlite:///state.db"}
            else:
                state = {"database": run.server().new_database().owner_url}
            delays: list[float] = []
            failed = 0
            with agreement(Path(folder), state) as gateways:
                for number in range(options.trials):
                    trial = gateways.trial(number, KINDS[number % len(KINDS)], source)
                    delays += trial.delays
                    failed += bool(trial.wrong)
                    for wrong in trial.wrong:
                        print(f"trial {number} ({trial.kind}): {wrong}", flush=True)
                    if number % 20 == 19:
                        print(f"{number + 1} trials, {failed} failed", flush=True)
    finally:
        run.end()
    delays.sort()
    print(f"{options.trials - failed} of {options.trials} trials agreed within {BOUND:g} seconds ({options.database})")
    print(f"accepted last after the confirmation: median {delays[len(delays) // 2]:.3f} seconds, worst {delays[-1]:.3f}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
