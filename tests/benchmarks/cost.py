"""What something costs: seconds of CPU time, of this process's own code and of the system's on its behalf."""

from __future__ import annotations

import gc
import time
from typing import Awaitable, Callable


async def cost_of(operation: Callable[[], Awaitable[int]], seconds: float) -> float:
    """What one of the things that `operation` does costs, done until `seconds` are spent; it tells how many it did."""
    gc.collect()
    count = 0
    spent = 0.0
    start = time.process_time()
    while spent < seconds or not count:
        count += await operation()
        spent = time.process_time() - start
    return spent / count
