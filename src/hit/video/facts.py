"""What a file is made of, and whether a browser plays it as it stands."""

from dataclasses import dataclass

from hit.types import Where
from hit.video.source import Source, rotation

# What Chromium plays, with sound and pictures and in step with our clock; tests/test_media.py asks one.
PIXELS = {  # of each codec, what every browser that has it plays, by software or hardware
    "h264": frozenset(["yuv420p", "yuvj420p"]),
    "vp8": frozenset(["yuv420p", "yuva420p"]),
    "vp9": frozenset(["yuv420p", "yuva420p"]),
    "av1": frozenset(["yuv420p", "yuv420p10le"]),
}
SOUNDS = frozenset(["aac", "mp3", "opus", "flac", "vorbis"])
WEB = frozenset(["vp8", "vp9", "av1", "opus", "vorbis", ""])  # what Matroska may hold to be called WebM
LATE = 0.1  # seconds by which a file's own clock, which browsers go by, may differ from that of its pictures


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file's header and first picture say. Sizes are those on screen: upright, square pixels."""

    container: str  # FFmpeg's name: "mov", "matroska", "avi", ...
    duration: float | None  # seconds of video; None where the header does not say
    width: int
    height: int
    rate: float  # average pictures a second
    video: str  # the codec's name: "h264", "av1", ...
    profile: str  # of the codec, "" where it has none
    pixels: str  # their format: "yuv420p", ...
    audio: str | None  # the codec's name; None without sound
    rotation: int  # degrees by which the coded pictures are turned counter-clockwise for display: 0, 90, 180, 270
    size: int  # bytes
    type: str  # the media type to serve it as
    why: str  # it cannot be played in a browser as it stands, "" where it can

    @property
    def playable(self) -> bool:
        """Whether a browser plays it as it stands."""
        return not self.why


def facts(path: Where) -> Facts:
    """Look at a file, decoding no more than its first picture. Raises UserError where it is no video or that does not decode."""
    with Source(path) as source:
        picture = source.first()
        context, sound = source.video.codec_context, source.audio
        container, video = source.container.format.name.split(",")[0], context.codec.canonical_name
        audio = sound.codec_context.codec.canonical_name if sound else None
        width, height = source.display(picture)
        pixels, kind = context.pix_fmt or "", "video/mp4" if container == "mov" else "application/octet-stream"
        if container == "matroska":
            kind = "video/webm" if WEB.issuperset([video, audio or ""]) else "video/x-matroska"
        return Facts(
            container=container,
            duration=source.duration(),
            width=width,
            height=height,
            rate=source.rate,
            video=video,
            profile=context.profile or "",
            pixels=pixels,
            audio=audio,
            rotation=rotation(picture),
            size=source.size,
            type=kind,
            why=_obstacle(container, video, pixels, audio, source.origin),
        )


def _obstacle(container: str, video: str, pixels: str, audio: str | None, begin: float) -> str:
    """Return why browsers do not play a file, "" where they do."""
    if container not in ("mov", "matroska"):
        return f"browsers do not open the container {container}"
    if video not in PIXELS:
        return f"browsers do not show the codec {video}"
    if pixels not in PIXELS[video]:
        return f"not every browser shows {video} of {pixels}"
    if audio and audio not in SOUNDS:
        return f"browsers do not play the sound's codec {audio}"
    return f"its first picture is at {begin:.1f} s of its clock" if abs(begin) > LATE else ""
