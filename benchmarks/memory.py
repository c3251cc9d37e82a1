"""The compiled memory of the paper's full step: 512 lifetimes x 64 environments, K = 5, GRU 256. Compiles, runs nothing.

`python -m benchmarks.memory` prints one JSON object on its last line: `bytes` without mini-batches (arguments, results that
are no arguments, temporaries), and `bytes_with_blocks_of_64`, with mini-batches of 64 lifetimes.
"""

import dataclasses
import json

from groove.config import GROOVE
from groove.runs.cost import compiled_bytes


def main() -> None:
    blocks = dataclasses.replace(GROOVE, meta=dataclasses.replace(GROOVE.meta, block=64))
    print(json.dumps({"bytes": compiled_bytes(GROOVE), "bytes_with_blocks_of_64": compiled_bytes(blocks)}))


if __name__ == "__main__":
    main()
