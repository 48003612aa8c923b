"""CPU seconds for decoding a minute of 30 frames/s H.264 once, for one expert that wants 1 and one that wants 8 frames a second.

python benchmarks/decode.py [VIDEO]; without one, a moving texture of 640 x 360 is encoded first.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hit import video
from hit.types import AudioWant, Bytes, Clip, FrameWant, Want

WANTS: dict[str, list[Want]] = {
    "1/s": [FrameWant(1, 224)],
    "8/s": [FrameWant(8, 112)],
    "both and sound": [FrameWant(1, 224), FrameWant(8, 112), AudioWant(16000)],
}


def texture(count: int) -> Iterator[Bytes]:
    """Yield frames (360, 640, 3) of a coarse random texture that drifts by a pixel a frame."""
    coarse = np.random.default_rng(0).integers(0, 256, (45, 80, 3), np.uint8)
    image = coarse.repeat(8, 0).repeat(8, 1)
    yield from (np.roll(image, k, 1) for k in range(count))


def main() -> None:
    """Print one JSON line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "texture.mp4"
        if not path.exists():
            tone = np.sin(np.arange(60 * 16000) / 10).astype(np.float32)
            video.write(path, texture(1800), 30, tone, 16000)
        result: dict[str, object] = {"benchmark": "decode", "video_seconds": round(video.probe(path).duration, 2)}
        for name, wants in WANTS.items():
            begun = time.process_time()
            [media] = video.read(path, [Clip("c", "v", path)], wants)
            result[f"cpu_seconds, {name}"] = round(time.process_time() - begun, 2)
            result[f"frames, {name}"] = sum(len(frames.times) for frames in media.frames.values())
    print(json.dumps(result))


if __name__ == "__main__":
    main()
