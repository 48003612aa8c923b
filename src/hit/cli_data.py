"""The commands `hit import` and `hit data`: parse, call, print."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hit.door import Json, emit

if TYPE_CHECKING:
    from hit.importers.release import Terms

importing = typer.Typer(help="Make a data set of captions and features that others made.", rich_markup_mode=None)
looking = typer.Typer(help="Look at a data set.", rich_markup_mode=None)

FEW = 10  # ids shown of those that an import left out

NewDataset = Annotated[Path, typer.Argument(metavar="OUT", help="The data set folder to make.")]
Annotations = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder with the release's annotation files.")]
FeatureFolders = Annotated[
    list[str] | None,
    typer.Option(
        "--features", metavar="NAME=FOLDER", help="An expert's name and the folder of its files VIDEO.npy, each (n, d)."
    ),
]
Rate = Annotated[float, typer.Option(help="How many rows a second these files have.")]
Partial = Annotated[
    bool, typer.Option("--allow-partial", help="Import what is there, though it differs from the published data set.")
]


@importing.command("arrays")
def import_arrays(
    captions: Annotated[Path, typer.Argument(metavar="CAPTIONS", help="A csv with the columns id,split,caption.")],
    features: Annotated[
        Path, typer.Argument(metavar="FEATURES", help="An npz with ids (N), n_frames (N) and values (sum of n_frames, d).")
    ],
    out: NewDataset,
    expert: Annotated[str, typer.Option(help="What to call these features in the data set and in recipes.")],
    rate: Annotated[float, typer.Option(help="How many rows a second.")] = 1.0,
    source: Annotated[
        str | None,
        typer.Option(help="What made the features; data sets of one source fit one model. Default: the file's hash and name."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Import captions from a csv and features from an npz, as numpy writes them."""
    from hit.console import Bars
    from hit.importers import arrays

    summary = arrays.import_arrays(captions, features, out, expert=expert, source=source, rate=rate, progress=Bars())
    emit(summary, as_json, _show_import)


@importing.command("msrvtt")
def import_msrvtt(
    folder: Annotations,
    out: NewDataset,
    cut: Annotated[Literal["1ka", "1kb", "full"], typer.Option(help="1ka: jsfusion; 1kb: miech; full: the official one.")],
    features: FeatureFolders = None,
    rate: Rate = 1.0,
    allow_partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Import MSR-VTT: Microsoft's json files, split lists, CLIP4Clip's csv files."""
    from hit.importers import msrvtt

    emit(msrvtt.import_msrvtt(folder, out, cut, _terms(features, rate, allow_partial)), as_json, _show_import)


@importing.command("activitynet")
def import_activitynet(
    folder: Annotations,
    out: NewDataset,
    protocol: Annotated[
        Literal["paragraph", "clip"],
        typer.Option(help="paragraph: all sentences of a video joined; clip: each sentence with its segment."),
    ] = "paragraph",
    val: Annotated[int, typer.Option(min=1, max=2, help="Which annotation of the validation videos is the test split.")] = 1,
    features: FeatureFolders = None,
    rate: Rate = 1.0,
    allow_partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Import ActivityNet Captions: train.json and val_1.json or val_2.json."""
    from hit.importers import activitynet

    terms = _terms(features, rate, allow_partial)
    emit(activitynet.import_activitynet(folder, out, protocol, val, terms), as_json, _show_import)


@importing.command("msvd")
def import_msvd(
    folder: Annotations,
    out: NewDataset,
    features: FeatureFolders = None,
    rate: Rate = 1.0,
    allow_partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Import MSVD: captions_msvd.json or raw-captions.pkl, and three split lists."""
    from hit.importers import msvd

    emit(msvd.import_msvd(folder, out, _terms(features, rate, allow_partial)), as_json, _show_import)


@importing.command("lsmdc")
def import_lsmdc(
    folder: Annotations,
    out: NewDataset,
    features: FeatureFolders = None,
    rate: Rate = 1.0,
    allow_partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Import LSMDC 2016: LSMDC16_annos_training.csv and LSMDC16_challenge_1000_publictect.csv, val where it is there."""
    from hit.importers import lsmdc

    emit(lsmdc.import_lsmdc(folder, out, _terms(features, rate, allow_partial)), as_json, _show_import)


@importing.command("csv")
def import_csv(
    table: Annotated[Path, typer.Argument(metavar="CSV", help="A csv, or a tsv, with a row per caption.")],
    out: NewDataset,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=COLUMN", help="Which column is id, caption, split, video, start or end; may be given again."),
    ] = None,
    split: Annotated[str, typer.Option(help="The split of clips for which the csv names none.")] = "train",
    features: FeatureFolders = None,
    rate: Rate = 1.0,
    allow_partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Import a csv of one's own."""
    from hit.importers import mine

    emit(mine.import_csv(table, out, column or (), split, _terms(features, rate, allow_partial)), as_json, _show_import)


@importing.command("mmt")
def import_mmt(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="One data set of the release: symlinked-feats/ and vid_feat_files/ are in it."),
    ],
    out: NewDataset,
    cut: Annotated[
        Literal["msrvtt-1ka", "msrvtt-1kb", "msrvtt-full", "activitynet", "lsmdc"],
        typer.Option(help="Which data set it is, and which of its cuts."),
    ],
    allow_partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Import MMT's release of expert features (HDF5), with its captions and split lists."""
    from hit.importers import mmt

    emit(mmt.import_mmt(folder, out, cut, _terms(None, 1.0, allow_partial)), as_json, _show_import)


@looking.command("show")
def data_show(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A data set folder.")],
    plot: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Also write a page there that draws caption lengths and coverage.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Count a data set's clips and captions by split, the words of captions, and the clips that each expert covers."""
    from hit import overview

    about = overview.overview(dataset)
    if plot:
        overview.write_plots(dataset, about, plot)
    emit(about, as_json, _show_data)


def _terms(features: list[str] | None, rate: float, allow_partial: bool) -> "Terms":
    from hit.console import Bars
    from hit.importers.folders import Folders
    from hit.importers.release import Terms

    return Terms(Folders(features or (), rate), allow_partial, Bars())


def _show_import(result: Mapping[str, Any]) -> None:
    from hit.console import say, table

    rows = []
    published = any("published" in counts for counts in result["splits"].values())
    for split, counts in (*result["splits"].items(), ("all", result)):
        right = counts.get("published", {})
        row = [counts["clips"], *([right.get("clips")] if published else []), counts["captions"]]
        rows.append([split, *row, *([right.get("captions")] if published else []), counts["words_per_caption"]])
    titles = ["split", "clips", "published", "captions", "published", "words a caption"]
    table(result["out"], titles if published else [title for title in titles if title != "published"], rows)
    for name, about in result["experts"].items():
        least, mean, most = about["rows"].values()
        rows_a_clip = f"{least} to {most} rows a clip, {mean:.2f} on average"
        say(f"{name}: {about['width']} values a row, {rows_a_clip}; {about['clips']} of {result['clips']} clips have some")
    for kind, ids in result.get("left_out", {}).items():
        if ids:
            say(f"left out, {len(ids)} {kind.replace('_', ' ')}: {_few(ids)}")
    for problem in result.get("problems", ()):
        kind, ids = "problem" if problem["blocks"] else "note", problem["ids"]
        say(f"{kind}: {problem['what']} ({problem['fix']})" + (f": {_few(ids)}" if ids else ""))


def _few(ids: list[str]) -> str:
    return ", ".join(ids[:FEW]) + (f" and {len(ids) - FEW} more (--json lists all)" if len(ids) > FEW else "")


def _show_data(result: Mapping[str, Any]) -> None:
    from hit.console import say, table

    parts = (*result["splits"].items(), ("all", result))
    rows = [[split, about["clips"], about["captions"], *about["words"].values()] for split, about in parts]
    table(result["dataset"], ["split", "clips", "captions", "words: least", "median", "mean", "most"], rows)
    if not result["experts"]:
        say("no features")
        return
    columns = ["expert", "width", "clips", "% of clips", "absent", "saw nothing", "not extracted", "rows: least", "mean", "most"]
    keys = ("name", "width", "clips", "share", "absent", "saw_nothing", "not_extracted")
    experts = [[*(one[key] for key in keys), *one["rows"].values()] for one in result["experts"]]
    table("Experts", columns, experts)
