"""Several runs and results on one page."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from groove import evaluation
from groove.evaluation import results as files
from groove.files.writing import write_text
from groove.report import figures, html, page, suites
from groove.report.figures import Picture


def write(folders: Sequence[Path], results_of: Sequence[Path], output: Path, *, trusted: tuple[str, ...] = ()) -> Path:
    """Draws several runs and results on one self-contained page, with its pictures in `figures/` beside it.

    Args:
        folders: Of runs.
        results_of: Files of results, or folders that hold them; what they say of one suite is put together.
        output: The page.
        trusted: As of `groove.report.page.write`, of every run.

    Returns:
        The page.

    Raises:
        ValueError: A folder is no run or names what is not trusted, results are damaged, or two of them differ on what a
            rule reached.
        OSError: The page cannot be written.
    """
    pictures: list[Picture] = []
    blocks = _results(results_of, pictures) if results_of else []
    for place, folder in enumerate(folders):
        own: list[Picture] = []
        name, body = page.drawn(folder, own, trusted)
        pictures.extend(picture._replace(name=f"{place}-{picture.name}") for picture in own)
        blocks.append(f"<h1>{escape(name)}</h1>\n{body}")
    title = "Evaluation" if results_of else "Runs"
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, html.document(title, "\n".join(blocks)))
    figures.save(pictures, output.parent / "figures")
    return output


def _results(paths: Sequence[Path], pictures: list[Picture]) -> list[str]:
    table = files.merged([files.read(path) for path in paths])
    return suites.sections(evaluation.suite_results(table), pictures)
