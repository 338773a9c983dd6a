"""Which faults come when: all of it is drawn from the seed before anything starts."""

from __future__ import annotations

import random
from dataclasses import dataclass

WORKERS = ["w1", "w2", "w3", "w4"]
DRIVERS = ["d1", "d2"]
CLIENTS = ["c1", "c2"]
# Whichever driver has the databases when the fault comes.
ACTIVE = "active"


@dataclass
class Fault:
    at_s: float
    kind: str
    # The hosts that it concerns.
    hosts: tuple[str, ...]
    # How long it lasts; what is killed is started again after so long.
    lasts_s: float
    # How bad it is, where there is more and less.
    strength: float

    def __str__(self) -> str:
        return f"{self.at_s:7.1f} s  {self.kind:<12} {' '.join(self.hosts):<8} {self.lasts_s:4.1f} s  {self.strength:.3f}"


# How often, of what, for how long at most.
KINDS = [
    (4, "kill", WORKERS, 3),
    (3, "stop", WORKERS, 20),
    (2, "end", WORKERS, 3),
    (2, "kill", [ACTIVE], 3),
    (1, "kill", DRIVERS, 3),
    (1, "end", [ACTIVE], 3),
    (1, "stop", [ACTIVE], 20),
    (2, "kill", CLIENTS, 1),
    (3, "cut", [(worker, driver) for worker in WORKERS for driver in DRIVERS], 15),
    (3, "cut", [(a, b) for a in WORKERS for b in WORKERS if a < b], 15),
    (2, "cut", [(client, driver) for client in CLIENTS for driver in DRIVERS], 15),
    (2, "cut off", WORKERS, 15),
    (1, "cut off", [ACTIVE], 10),
    (1, "cut off", CLIENTS, 15),
    (2, "poor network", ["all"], 10),
    (2, "full disk", WORKERS, 8),
    (2, "full disk", [ACTIVE], 4),
    (1, "slow disk", WORKERS, 8),
    (1, "slow disk", [ACTIVE], 8),
    (1, "clock", WORKERS, 10),
    (1, "clock", [ACTIVE], 10),
]


def schedule(seed: int, seconds: float) -> list[Fault]:
    """Faults for so long; several may be there at once."""
    draw = random.Random(f"{seed}/faults")
    weights = [kind[0] for kind in KINDS]
    faults, at_s = [], 1.0
    while at_s < seconds:
        _, kind, places, most_s = draw.choices(KINDS, weights)[0]
        hosts = draw.choice(places)
        hosts = hosts if isinstance(hosts, tuple) else (hosts,)
        lasts_s = draw.choice([most_s, draw.uniform(0.1, most_s)])
        faults.append(Fault(at_s, kind, hosts, lasts_s, draw.random()))
        at_s += draw.uniform(0.2, 6)
    return faults
