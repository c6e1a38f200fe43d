"""What a file takes in the runtime that it is for: run by benchmarks/device.py, in a fresh process.

    python benchmarks/runtimes.py memory SMALL FILE
    python benchmarks/runtimes.py latency ROUNDS FILE...

memory: bytes that only this process has, more than when it had run SMALL, a file of the same kind:
after FILE was loaded and after its first run. latency: milliseconds of the processor for one image,
on one thread, the fastest run of each file, and the quartiles of how many times the last file's the
first one took in each round; all are loaded and take turns. Prints JSON.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

WARM = 5


def main() -> None:
    """Measure and print."""
    kind, first, *paths = sys.argv[1:]
    if kind == "latency":
        print(json.dumps(latencies([loaded(path) for path in paths], int(first))))
        return
    small = loaded(first)
    small()
    began = private_bytes()
    call = loaded(paths[0])
    after_loading = private_bytes() - began
    call()
    print(json.dumps([after_loading, private_bytes() - began]))


def loaded(path: str) -> Callable[[], object]:
    """A function that computes the logits of one image."""
    if path.endswith(".tflite"):
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(path, num_threads=1)
        interpreter.allocate_tensors()
        (start,) = interpreter.get_input_details()
        interpreter.set_tensor(start["index"], np.zeros(start["shape"], np.int8))
        invoke: Callable[[], object] = interpreter.invoke
        return invoke
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    images = np.zeros((1, *session.get_inputs()[0].shape[1:]), np.float32)
    return lambda: session.run(None, {"images": images})


def private_bytes() -> int:
    """That no other process has."""
    gc.collect()
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private"))


def latencies(calls: list[Callable[[], object]], rounds: int) -> tuple[list[float], list[float]]:
    """The fastest of each, in milliseconds of this process: what else runs on the machine takes
    caches away, so it only adds. The quartiles of the first by the last, of the same round.
    """
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(WARM + rounds):
        for call, own in zip(calls, times, strict=True):
            began = time.process_time()
            call()
            if turn >= WARM:
                own.append(1000 * (time.process_time() - began))
    fastest = [min(own) for own in times]
    return fastest, np.percentile(np.divide(times[0], times[-1]), (25, 50, 75)).tolist()


if __name__ == "__main__":
    main()
