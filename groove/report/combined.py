"""Several runs and results on one page."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from groove import evaluation, host
from groove.evaluation import results as files
from groove.report import figures, html, page, results
from groove.report.figures import Picture


def write(runs: Sequence[Path], found: Sequence[Path], output: Path, trusted: tuple[str, ...] = ()) -> Path:
    """See `groove.report.write_all`."""
    pictures: list[Picture] = []
    blocks = _results(found, pictures) if found else []
    for place, folder in enumerate(runs):
        own: list[Picture] = []
        name, body = page.drawn(folder, own, trusted)
        pictures.extend(picture._replace(name=f"{place}-{picture.name}") for picture in own)
        blocks.append(f"<h1>{escape(name)}</h1>\n{body}")
    title = "Evaluation" if found else "Runs"
    output.parent.mkdir(parents=True, exist_ok=True)
    host.write_text(output, html.document(title, "\n".join(blocks)))
    figures.save(pictures, output.parent / "figures")
    return output


def _results(paths: Sequence[Path], pictures: list[Picture]) -> list[str]:
    table = files.merged([files.read(path) for path in paths])
    return results.sections(evaluation.standings(table), pictures)
