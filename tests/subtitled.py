"""Video files with subtitle tracks, for tests of what reads them."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.subtitles.subtitle import SubtitleSet

from hit.types import Bytes

Lines = Sequence[tuple[float, float, str]]  # (start, end, text in SubStation Alpha's form), seconds

_STYLES = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,16

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def write(path: Path, tracks: Sequence[tuple[str, Lines]], pictures: Iterable[Bytes] = (), start: float = 0.0) -> Path:
    """Write a video at 25/s (4 s of grey without `pictures`) that begins at `start`, with a track (codec, lines) each."""
    base = Fraction(1, 1000)
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as container:
        video: Any = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "bf": "0"})
        streams: list[Any] = []
        for codec, _ in tracks:
            stream: Any = container.add_stream(codec)
            stream.codec_context.subtitle_header = _STYLES
            stream.codec_context.time_base = stream.time_base = base
            streams.append(stream)
        images = list(pictures) or [np.full((64, 96, 3), 90, np.uint8)] * 100
        video.height, video.width, video.pix_fmt = *images[0].shape[:2], "yuv420p"
        for count, picture in enumerate(images):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(start * 1000) + count * 40, base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for stream, (_, lines) in zip(streams, tracks, strict=True):
            for number, (begin, end, text) in enumerate(lines):
                content = SubtitleSet.create(f"{number},0,Default,,0,0,0,,{text}".encode(), 0, round((end - begin) * 1000))
                packet = stream.codec_context.encode_subtitle(content)
                packet.stream, packet.time_base = stream, base
                packet.pts = packet.dts = round((start + begin) * 1000)
                packet.duration = round((end - begin) * 1000)
                container.mux(packet)
    return path
